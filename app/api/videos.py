"""`POST /v1/videos`: a video file in, a line per frame out while it is still being uploaded."""

from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from app.api import parameters
from app.api.contract import NDJSON, to_line
from app.core.errors import InvalidRequestError, TooLargeError, UnsupportedMediaError
from app.core.result import FrameResult, Summary
from app.core.video import FrameMode
from app.pipeline.frame_path import FramePath

_REFUSED_TYPES = ("image/", "text/", "multipart/", "application/json")
CHUNK_BYTES = 1024**2
"""Upload bytes that travel together: a hop costs about the same whatever it carries (facts/costs.md)."""


def router(path: FramePath, *, max_bytes: int) -> APIRouter:
    """The routes over `path`; `max_bytes` bounds one upload."""
    routes = APIRouter()

    # curl -T sends PUT.
    @routes.put("/v1/videos", include_in_schema=False, response_class=StreamingResponse)
    @routes.post("/v1/videos", summary="Tracked objects in a video file", response_class=StreamingResponse)
    async def videos(  # noqa: PLR0917  FastAPI reads the parameters from the signature
        request: Request,
        mode: parameters.Mode = FrameMode.EVERY_FRAME,
        fps: parameters.Fps = None,
        conf: parameters.Conf = None,
        iou: parameters.Iou = None,
        classes: parameters.Classes = None,
        roi: parameters.Roi = None,
    ) -> Response:
        """The file as the raw body; NDJSON comes back, a `FrameResult` per frame and a `Summary` at the end."""
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type.startswith(_REFUSED_TYPES):
            raise UnsupportedMediaError(f"the body is declared as {media_type[:100]}; send a video, e.g. video/mp4")
        query = parameters.frame_query(conf=conf, iou=iou, classes=classes, roi=roi, tile=1, labels=path.spec.labels)
        spec = parameters.video_spec(mode=mode, fps=fps, query=query)
        results = path.track_video(_upload(request, max_bytes=max_bytes), spec)
        # The status line waits for the first frame: a file without any gets its error as a status, not as a line.
        first = await anext(results)
        return StreamingResponse(_lines(first, results), media_type=NDJSON)

    return routes


async def _upload(request: Request, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces of about `CHUNK_BYTES`; a small piece goes on alone when the sender pauses for the first."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLargeError(f"the body has {declared} bytes; at most {max_bytes} are taken")
    pieces: list[bytes] = []
    size = 0
    received = 0
    try:
        async for piece in request.stream():
            pieces.append(piece)
            size += len(piece)
            received += len(piece)
            if received > max_bytes:
                raise TooLargeError(f"the body has more than {max_bytes} bytes")
            if size >= CHUNK_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
    except ClientDisconnect:
        raise InvalidRequestError("the upload broke off") from None
    if received == 0:
        raise InvalidRequestError("the body is empty")
    yield b"".join(pieces)


async def _lines(
    first: FrameResult | Summary, rest: AsyncGenerator[FrameResult | Summary, None]
) -> AsyncIterator[bytes]:
    try:
        yield to_line(first)
        async for item in rest:
            yield to_line(item)
    finally:
        await rest.aclose()
