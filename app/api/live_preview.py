"""`/v1/streams/{id}/preview`: a live stream as pictures, with everything drawn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from app.api.tenancy import client_of
from app.core.errors import NotFoundError
from app.pipeline.stream_host import StreamHost

_MAX_HZ: Final = 10.0
_WAIT_S: Final = 10.0
_BOUNDARY: Final = "sightline-frame"


def router() -> APIRouter:
    """The route over the streams of whoever asks."""
    routes = APIRouter()

    @routes.get(
        "/v1/streams/{stream_id}/preview",
        summary="The stream as pictures, with everything drawn",
        response_class=Response,
    )
    async def preview(request: Request, stream_id: str) -> Response:
        """Multipart MJPEG, as browsers show it in an image: the newest frame, at most ten times a second."""
        host = client_of(request).host
        await host.show(stream_id)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(_pictures(host, stream_id), media_type=kind, headers={"cache-control": "no-store"})

    return routes


async def _pictures(host: StreamHost, stream_id: str) -> AsyncIterator[bytes]:
    seq = -1
    yield f"--{_BOUNDARY}\r\n".encode()
    while True:
        pace = asyncio.create_task(asyncio.sleep(1 / _MAX_HZ))
        try:
            picture = await host.preview(stream_id, after_seq=seq, wait_s=_WAIT_S)
        except NotFoundError:
            return
        if picture is not None:
            seq = picture.seq
            head = f"content-type: image/jpeg\r\ncontent-length: {len(picture.jpeg)}\r\n\r\n"
            yield head.encode() + picture.jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()
        await pace
