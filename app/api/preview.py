"""`POST /v1/pipelines/preview`: any picture in, a small upright JPEG out."""

import cv2
from fastapi import APIRouter, Request, Response

from app.api.bodies import BodyBudget, unless_disconnected
from app.api.documents import IMAGE_BODY, JPEG_ANSWER
from app.api.parameters import PreviewParameters
from app.api.sources import Sources
from app.api.tenancy import client_of
from app.api.workers import Workers
from app.core.frame import EncodedFrame, FrameRef
from app.media.limits import DecodeLimits
from app.media.preview import preview_jpeg

_THREADS = 2
_MAX_WAITING = 16
"""More would wait for a second or longer where one preview costs 20 to 100 ms."""


def router(sources: Sources, *, budget: BodyBudget, decoding: DecodeLimits) -> APIRouter:
    """The route; the work is done in this process, without any model."""
    cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would fight them for the cores
    routes = APIRouter()
    workers = Workers(_THREADS, max_waiting=_MAX_WAITING, name="preview")

    @routes.post(
        "/v1/pipelines/preview",
        summary="A small upright JPEG of one image",
        response_class=Response,
        responses=JPEG_ANSWER,
        openapi_extra={**IMAGE_BODY, **PreviewParameters.openapi()},
    )
    async def preview(request: Request) -> Response:
        """The image as for `/v1/detections`; Lanczos, sRGB, never enlarged, no metadata."""
        given = PreviewParameters.read(request)
        deadline_s = given.deadline_s()
        client_of(request).quota.spend()
        with budget.lease() as lease:
            image = await sources.read(request, lease, deadline_s=deadline_s)
            ref = FrameRef(stream_id="preview", seq=0)
            encoded = EncodedFrame(data=image.data, raw_size_px=image.raw_size_px, ref=ref)
            work = workers.run(
                lambda: preview_jpeg(encoded, max_side_px=given.max_side, quality=given.quality, limits=decoding),
                deadline_s=deadline_s,
            )
            jpeg = await unless_disconnected(request, work)
        return Response(jpeg, media_type="image/jpeg")

    return routes
