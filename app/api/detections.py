"""`POST /v1/detections`: one image, or many in one multipart."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.asks import ask_of
from app.api.bodies import BodyBudget, BodyLimits, Lease, LeasedStream, chunks_of, unless_disconnected
from app.api.contract import JSON, NDJSON, to_json, to_json_array, to_line
from app.api.documents import IMAGES_BODY
from app.api.parameters import ImageParameters
from app.api.sources import Sources, media_type_of
from app.api.tenancy import client_of
from app.core.errors import InvalidRequestError, SightlineError, TooLargeError
from app.core.frame import FrameRef
from app.core.query import Query
from app.core.result import FrameResult
from app.pipeline.frame_path import FramePath
from app.pipeline.results import failure
from app.pipeline.streams import new_stream_id
from app.pipeline.tenants import Quota
from app.policy.route_table import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    query: Query
    routing: Ask
    deadline_s: float | None
    max_image_bytes: int
    quota: Quota


def router(path: FramePath, *, limits: BodyLimits, budget: BodyBudget, sources: Sources) -> APIRouter:
    """The routes over `path`."""
    routes = APIRouter()

    @routes.post(
        "/v1/detections",
        summary="Objects in one image, or in many",
        openapi_extra={**IMAGES_BODY, **ImageParameters.openapi()},
    )
    async def detections(request: Request) -> Response:
        """The image as the raw body, as JSON (base64 or a URL) or as bare RGB; `multipart/form-data` with many."""
        given = ImageParameters.read(request)
        ask = _Ask(
            query=given.query(path.spec.labels),
            routing=ask_of(request),
            deadline_s=given.deadline_s(),
            max_image_bytes=limits.max_image_bytes,
            quota=client_of(request).quota,
        )
        if media_type_of(request) == "multipart/form-data":
            return await _many(request, path, ask, limits=limits, budget=budget)
        ask.quota.spend()
        with budget.lease() as lease:
            image = await sources.read(request, lease, deadline_s=ask.deadline_s)
            ref = FrameRef(stream_id=new_stream_id(), seq=0)
            work = path.detect(
                image.data,
                raw_size_px=image.raw_size_px,
                ref=ref,
                query=ask.query,
                ask=ask.routing,
                deadline_s=ask.deadline_s,
            )
            result = await unless_disconnected(request, work)
        line = NDJSON in request.headers.get("accept", "")
        return Response(to_line(result) if line else to_json(result), media_type=NDJSON if line else JSON)

    return routes


async def _many(request: Request, path: FramePath, ask: _Ask, *, limits: BodyLimits, budget: BodyBudget) -> Response:
    """All images of one multipart: a JSON array in their order, or lines in the order they are done."""
    with budget.lease() as lease:
        images = await _parts(request, lease, limits=limits)
        stream_id = new_stream_id()
        if NDJSON not in request.headers.get("accept", ""):
            work = asyncio.gather(*(_one(path, ask, stream_id, seq, data) for seq, data in enumerate(images)))
            return Response(to_json_array(await unless_disconnected(request, work)), media_type=JSON)
        kept = lease.hand_over()
    return LeasedStream(_lines(path, ask, stream_id, images), media_type=NDJSON, lease=kept)


async def _parts(request: Request, lease: Lease, *, limits: BodyLimits) -> list[bytes]:
    stream = chunks_of(request, lease, max_bytes=limits.max_multipart_bytes)
    parser = MultiPartParser(request.headers, stream, max_files=limits.max_parts, max_fields=limits.max_parts)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            raise TooLargeError(f"more than {limits.max_parts} parts in one request") from None
        raise InvalidRequestError("the multipart body is malformed") from None
    except KeyError:
        raise InvalidRequestError("the multipart content-type names no boundary") from None
    try:
        images = [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]
    finally:
        await form.close()
    if not images:
        raise InvalidRequestError("the multipart holds no file")
    return images


async def _one(path: FramePath, ask: _Ask, stream_id: str, seq: int, data: bytes) -> FrameResult:
    """The result of one part, an error included: its neighbours are not its business."""
    ref = FrameRef(stream_id=stream_id, seq=seq)
    try:
        if len(data) == 0:
            raise InvalidRequestError("this part is empty")
        if len(data) > ask.max_image_bytes:
            raise TooLargeError(f"this part has more than {ask.max_image_bytes} bytes")
        ask.quota.spend()
        return await path.detect(data, ref=ref, query=ask.query, ask=ask.routing, deadline_s=ask.deadline_s)
    except SightlineError as error:
        return failure(ref, error)


async def _lines(path: FramePath, ask: _Ask, stream_id: str, images: list[bytes]) -> AsyncIterator[bytes]:
    tasks = [asyncio.create_task(_one(path, ask, stream_id, seq, data)) for seq, data in enumerate(images)]
    try:
        for done in asyncio.as_completed(tasks):
            yield to_line(await done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
