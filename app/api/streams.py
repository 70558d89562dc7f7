"""`/v1/streams`: live streams, pushed frame by frame or pulled, their results read by anyone from any point on."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from app.api.bodies import read_body
from app.api.contract import JSON, NDJSON, SSE, to_line, to_sse
from app.api.documents import IMAGE_BODY
from app.api.parameters import EventParameters, FrameParameters
from app.api.sources import Sources
from app.api.stream_body import StreamBody, shown
from app.api.stream_pump import PumpPorts
from app.api.tenancy import client_of
from app.contract.events import to_json
from app.core.errors import InvalidParameterError, NotFoundError
from app.pipeline.stream_host import EventBatch, Offer, StreamHost

_MAX_SPEC_BYTES = 64 * 1024
_POLL_S = 10.0
"""How long one look for events may wait; then a reader who has left is noticed."""


def router(ports: PumpPorts, *, labels: tuple[str, ...], sources: Sources) -> APIRouter:
    """The routes over the streams of whoever asks; `labels` are the model's."""
    routes = APIRouter()
    budget = ports.budget

    async def body_of(request: Request) -> bytes:
        with budget.lease() as lease:
            has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
            return await read_body(request, lease, max_bytes=_MAX_SPEC_BYTES) if has_body else b"{}"

    body_schema = {"requestBody": {"content": {JSON: {"schema": StreamBody.model_json_schema()}}}}

    @routes.post("/v1/streams", status_code=201, summary="Open a live stream", openapi_extra=body_schema)
    async def opened(request: Request) -> dict[str, Any]:
        """An empty body takes every default. `resume_token` is for a WebSocket or a gRPC call on this stream."""
        spec = StreamBody.parse(await body_of(request)).stream(labels)
        status = await client_of(request).host.open(spec)
        return {**shown(status), "resume_token": await ports.tokens.make(status.stream_id, seq=-1)}

    @routes.get("/v1/streams", summary="The open streams")
    async def listed(request: Request) -> list[dict[str, Any]]:
        return [shown(status) for status in await client_of(request).host.all()]

    @routes.get("/v1/streams/{stream_id}", summary="One stream and its account")
    async def one(request: Request, stream_id: str) -> dict[str, Any]:
        return shown(await client_of(request).host.show(stream_id))

    @routes.patch("/v1/streams/{stream_id}", summary="Change a stream while it runs", openapi_extra=body_schema)
    async def changed(request: Request, stream_id: str) -> dict[str, Any]:
        """Fields that are given replace the stream's, null means the default; lines that stay keep their counts."""
        body = await body_of(request)
        host = client_of(request).host
        now = await host.show(stream_id)
        return shown(await host.patch(stream_id, StreamBody.parse(body, onto=now.spec).stream(labels)))

    @routes.delete("/v1/streams/{stream_id}", summary="Close a stream; its final account")
    async def closed(request: Request, stream_id: str) -> Response:
        return Response(to_json(await client_of(request).host.close(stream_id)), media_type=JSON)

    @routes.post(
        "/v1/streams/{stream_id}/frames",
        summary="One frame in, its result out",
        openapi_extra={**IMAGE_BODY, **FrameParameters.openapi()},
    )
    async def pushed(request: Request, stream_id: str) -> Response:
        """A drop and an error are results too: the status is 200 as soon as the frame counts as captured."""
        given = FrameParameters.read(request)
        with budget.lease() as lease:
            picture = await sources.read(request, lease)
            if picture.raw_size_px is not None:
                raise InvalidParameterError("content-type: a stream takes encoded pictures")
            captured_at = given.captured_at.timestamp() if given.captured_at else None
            offer = Offer(data=picture.data, seq=given.seq, captured_at=captured_at)
            end = await client_of(request).host.push(stream_id, offer)
        return Response(end.body, media_type=JSON)

    @routes.get(
        "/v1/streams/{stream_id}/events",
        summary="Results from a point on, then live",
        response_class=StreamingResponse,
        openapi_extra=EventParameters.openapi(),
    )
    async def events(request: Request, stream_id: str) -> Response:
        """NDJSON, or server-sent events where `Accept` asks for them; `Last-Event-ID` is the same as `since`."""
        since = EventParameters.read(request).since
        last = request.headers.get("last-event-id")
        host = client_of(request).host
        position = await host.position(stream_id, after_seq=since, after_event=last)
        is_sse = SSE in request.headers.get("accept", "")
        lines = _lines(host, stream_id, position, is_sse=is_sse)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(lines, media_type=SSE if is_sse else NDJSON, headers=headers)

    return routes


async def _lines(host: StreamHost, stream_id: str, position: int, *, is_sse: bool) -> AsyncIterator[bytes]:
    write = to_sse if is_sse else to_line
    batch = EventBatch(events=(), position=position, is_closed=False)
    while not batch.is_closed:
        try:
            batch = await host.events(stream_id, position=batch.position, wait_s=_POLL_S)
        except NotFoundError:  # closed, and its farewell is over
            return
        if batch.events:
            yield b"".join(map(write, batch.events))
        elif is_sse and not batch.is_closed:
            yield b": nothing yet\n\n"
