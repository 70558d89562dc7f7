"""The event contract on the wire: JSON bytes and JSON Schemas of the core types."""

from typing import Any

from pydantic import TypeAdapter

from app.core.result import FrameResult, Gap, Summary

_FRAME_RESULT = TypeAdapter(FrameResult)
_FRAME_RESULTS = TypeAdapter(list[FrameResult])
_SUMMARY = TypeAdapter(Summary)
_GAP = TypeAdapter(Gap)

JSON = "application/json"
NDJSON = "application/x-ndjson"


def to_json(item: FrameResult | Gap | Summary) -> bytes:
    """One event as JSON; fields that hold nothing are left out."""
    if isinstance(item, Gap):
        return _GAP.dump_json(item, exclude_none=True)
    if isinstance(item, Summary):
        return _SUMMARY.dump_json(item, exclude_none=True)
    return _FRAME_RESULT.dump_json(item, exclude_none=True)


def to_json_array(items: list[FrameResult]) -> bytes:
    """Several results as one JSON array."""
    return _FRAME_RESULTS.dump_json(items, exclude_none=True)


def to_line(item: FrameResult | Gap | Summary) -> bytes:
    """One event as a line of NDJSON."""
    return to_json(item) + b"\n"


def to_sse(item: FrameResult | Gap | Summary) -> bytes:
    """One event as a server-sent event, its name that of the schema."""
    name = item.schema.rsplit(".", 1)[-1]
    return f"id: {item.event_id}\nevent: {name}\n".encode() + b"data: " + to_json(item) + b"\n\n"


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every event, by its name."""
    return {
        "FrameResult": _FRAME_RESULT.json_schema(mode="serialization"),
        "Gap": _GAP.json_schema(mode="serialization"),
        "Summary": _SUMMARY.json_schema(mode="serialization"),
    }
