"""`POST /v1/videos`: a video file in, a line per frame out while it is still being uploaded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive

from app.api.asks import ask_of
from app.api.contract import NDJSON, to_line
from app.api.documents import VIDEO_BODY
from app.api.parameters import VideoParameters
from app.api.tenancy import client_of
from app.core.errors import InvalidRequestError, TooLargeError, UnsupportedMediaError
from app.core.result import FrameResult, Summary
from app.pipeline.frame_path import FramePath
from app.pipeline.tenants import Quota

_REFUSED_TYPES = ("image/", "text/", "multipart/", "application/json")
CHUNK_BYTES = 1024**2
"""Upload bytes that travel together: a hop costs about the same whatever it carries (facts/costs.md)."""
PAUSE_S = 0.05
"""What came so far goes on when the sender pauses for as long: frames of a slow upload are not held back."""


class _Duplex(StreamingResponse):
    """Lines that go out while the body still comes in: nobody else may receive until the upload has read it all."""

    def __init__(self, lines: AsyncIterator[bytes], *, uploaded: asyncio.Event) -> None:
        super().__init__(lines, media_type=NDJSON)
        self._uploaded = uploaded

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Return when the client has gone, which the upload sees first while it lasts."""
        await self._uploaded.wait()
        await super().listen_for_disconnect(receive)


def router(path: FramePath, *, max_bytes: int) -> APIRouter:
    """The routes over `path`; `max_bytes` bounds one upload."""
    routes = APIRouter()

    # curl -T sends PUT.
    @routes.put("/v1/videos", include_in_schema=False, response_class=StreamingResponse)
    @routes.post(
        "/v1/videos",
        summary="Tracked objects in a video file",
        response_class=StreamingResponse,
        openapi_extra={**VIDEO_BODY, **VideoParameters.openapi()},
    )
    async def videos(request: Request) -> Response:
        """The file as the raw body; NDJSON comes back, a `FrameResult` per frame and a `Summary` at the end."""
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type.startswith(_REFUSED_TYPES):
            raise UnsupportedMediaError(f"the body is declared as {media_type[:100]}; send a video, e.g. video/mp4")
        spec = VideoParameters.read(request).spec(path.spec.labels)
        uploaded = asyncio.Event()
        results = path.track_video(_upload(request, uploaded, max_bytes=max_bytes), spec, ask=ask_of(request))
        # The status line waits for the first frame: a file without any gets its error as a status, not as a line.
        first = await anext(results)
        return _Duplex(_lines(first, results, client_of(request).quota), uploaded=uploaded)

    return routes


async def _upload(request: Request, uploaded: asyncio.Event, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces of about `CHUNK_BYTES`; sets `uploaded` when nothing more will come."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLargeError(f"the body has {declared} bytes; at most {max_bytes} are taken")
    received = 0
    try:
        async for chunk in _joined(request.stream()):
            received += len(chunk)
            if received > max_bytes:
                raise TooLargeError(f"the body has more than {max_bytes} bytes")
            yield chunk
    except ClientDisconnect:
        uploaded.set()
        raise InvalidRequestError("the upload broke off") from None
    uploaded.set()
    if received == 0:
        raise InvalidRequestError("the body is empty")


async def _joined(stream: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The pieces of a body joined to `CHUNK_BYTES` or more, or to what there is when the sender pauses."""
    pieces: list[bytes] = []
    arriving = asyncio.ensure_future(anext(stream, None))
    try:
        while True:
            is_pause = not (await asyncio.wait({arriving}, timeout=PAUSE_S if pieces else None))[0]
            if not is_pause:
                piece = arriving.result()
                if piece is None:
                    break
                pieces.append(piece)
                arriving = asyncio.ensure_future(anext(stream, None))
            if is_pause or sum(map(len, pieces)) >= CHUNK_BYTES:
                yield b"".join(pieces)
                pieces = []
        yield b"".join(pieces)
    finally:
        arriving.cancel()


async def _lines(
    first: list[FrameResult | Summary], rest: AsyncGenerator[list[FrameResult | Summary], None], quota: Quota
) -> AsyncIterator[bytes]:
    """A line per item; those that came together go out together. A video over its sender's quota goes on slower."""
    try:
        yield b"".join(map(to_line, first))
        await asyncio.sleep(quota.pace_s(len(first)))
        async for items in rest:
            yield b"".join(map(to_line, items))
            await asyncio.sleep(quota.pace_s(len(items)))
    finally:
        await rest.aclose()
