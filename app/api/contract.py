"""Events as HTTP carries them: one as JSON, a line of NDJSON, a server-sent event."""

from app.contract.events import kind_of, schemas, to_json
from app.core.result import Event, FrameResult
from app.core.wire import WireEvent

__all__ = ["JSON", "NDJSON", "SSE", "schemas", "to_json", "to_json_array", "to_line", "to_sse"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


def to_json_array(items: list[FrameResult]) -> bytes:
    """Several results as one JSON array."""
    return b"[" + b",".join(map(to_json, items)) + b"]"


def to_line(item: Event | WireEvent) -> bytes:
    """One event as a line of NDJSON."""
    return _body(item) + b"\n"


def to_sse(item: Event | WireEvent) -> bytes:
    """One event as a server-sent event, its name that of the schema."""
    name = item.kind if isinstance(item, WireEvent) else kind_of(item)
    return f"id: {item.event_id}\nevent: {name}\n".encode() + b"data: " + _body(item) + b"\n\n"


def _body(item: Event | WireEvent) -> bytes:
    return item.body if isinstance(item, WireEvent) else to_json(item)
