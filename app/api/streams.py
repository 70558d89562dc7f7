"""`/v1/streams`: live streams, pushed frame by frame, their results read by anyone from any point on."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from app.api.bodies import BodyBudget, read_body
from app.api.contract import JSON, NDJSON, to_json, to_line, to_sse
from app.api.documents import IMAGE_BODY
from app.api.parameters import EventParameters, FrameParameters, StreamBody
from app.api.sources import Sources
from app.core.errors import InvalidParameterError
from app.core.result import FrameResult, Gap, Summary
from app.pipeline.frame_path import FramePath
from app.pipeline.live_stream import LiveStream

SSE = "text/event-stream"
_MAX_SPEC_BYTES = 16 * 1024


def router(path: FramePath, *, budget: BodyBudget, sources: Sources) -> APIRouter:
    """The routes over `path`."""
    routes = APIRouter()
    streams = path.streams

    @routes.post(
        "/v1/streams",
        status_code=201,
        summary="Open a live stream",
        openapi_extra={"requestBody": {"content": {JSON: {"schema": StreamBody.model_json_schema()}}}},
    )
    async def opened(request: Request) -> dict[str, Any]:
        """An empty body takes every default."""
        with budget.lease() as lease:
            has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
            body = await read_body(request, lease, max_bytes=_MAX_SPEC_BYTES) if has_body else b"{}"
        stream = await streams.open(StreamBody.parse(body).stream(path.spec.labels))
        return _shown(stream)

    @routes.get("/v1/streams", summary="The open streams")
    async def listed() -> list[dict[str, Any]]:
        return [_shown(stream) for stream in streams.all()]

    @routes.get("/v1/streams/{stream_id}", summary="One stream and its account")
    async def shown(stream_id: str) -> dict[str, Any]:
        return _shown(streams.get(stream_id))

    @routes.delete("/v1/streams/{stream_id}", summary="Close a stream; its final account")
    async def closed(stream_id: str) -> Response:
        stream = await streams.close(stream_id)
        return Response(to_json(stream.summary()), media_type=JSON)

    @routes.post(
        "/v1/streams/{stream_id}/frames",
        summary="One frame in, its result out",
        openapi_extra={**IMAGE_BODY, **FrameParameters.openapi()},
    )
    async def pushed(request: Request, stream_id: str) -> Response:
        """A drop and an error are results too: the status is 200 as soon as the frame counts as captured."""
        given = FrameParameters.read(request)
        stream = streams.get(stream_id)
        with budget.lease() as lease:
            picture = await sources.read(request, lease)
            if picture.raw_size_px is not None:
                raise InvalidParameterError("content-type: a stream takes encoded pictures")
            captured_at = given.captured_at.timestamp() if given.captured_at else None
            end = await stream.push(picture.data, seq=given.seq, captured_at=captured_at)
        return Response(to_json(end), media_type=JSON)

    @routes.get(
        "/v1/streams/{stream_id}/events",
        summary="Results from a point on, then live",
        response_class=StreamingResponse,
        openapi_extra=EventParameters.openapi(),
    )
    async def events(request: Request, stream_id: str) -> Response:
        """NDJSON, or server-sent events where `Accept` asks for them; `Last-Event-ID` is the same as `since`."""
        since = EventParameters.read(request).since
        if (last := request.headers.get("last-event-id")) is not None:
            since = _seq_of(last, stream_id=stream_id)
        is_sse = SSE in request.headers.get("accept", "")
        lines = _lines(streams.get(stream_id).events(since=since), is_sse=is_sse)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(lines, media_type=SSE if is_sse else NDJSON, headers=headers)

    return routes


def _shown(stream: LiveStream) -> dict[str, Any]:
    account = stream.summary()
    video = stream.spec.video
    return {
        "stream_id": stream.stream_id,
        "label": stream.spec.label,
        "mode": video.mode.value,
        "fps": video.fps,
        "epoch": account.epoch,
        "captured": account.captured,
        "answered": account.answered,
        "dropped": account.dropped,
        "errors": account.errors,
        "in_flight": account.in_flight,
    }


def _seq_of(event_id: str, *, stream_id: str) -> int:
    """The frame of `stream:epoch:seq`, or the last one in the gap of `stream:epoch:gap:seq`."""
    owner, _, rest = event_id.partition(":")
    last = rest.rsplit(":", 1)[-1]
    if owner != stream_id or not last.isdecimal() or len(last) > len(str(2**63)):
        raise InvalidParameterError("Last-Event-ID: not the id of an event of this stream")
    return int(last)


async def _lines(events: AsyncIterator[list[FrameResult | Gap | Summary]], *, is_sse: bool) -> AsyncIterator[bytes]:
    write = to_sse if is_sse else to_line
    async for items in events:
        yield b"".join(map(write, items))
