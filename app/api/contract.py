"""The event contract on the wire: JSON bytes and JSON Schemas of the core types."""

from typing import Any

from pydantic import TypeAdapter

from app.core.result import FrameResult, Summary

_FRAME_RESULT = TypeAdapter(FrameResult)
_FRAME_RESULTS = TypeAdapter(list[FrameResult])
_SUMMARY = TypeAdapter(Summary)

JSON = "application/json"
NDJSON = "application/x-ndjson"


def to_json(item: FrameResult | Summary) -> bytes:
    """One event as JSON; fields that hold nothing are left out."""
    if isinstance(item, Summary):
        return _SUMMARY.dump_json(item, exclude_none=True)
    return _FRAME_RESULT.dump_json(item, exclude_none=True)


def to_json_array(items: list[FrameResult]) -> bytes:
    """Several results as one JSON array."""
    return _FRAME_RESULTS.dump_json(items, exclude_none=True)


def to_line(item: FrameResult | Summary) -> bytes:
    """One event as a line of NDJSON."""
    return to_json(item) + b"\n"


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every event, by its name."""
    return {
        "FrameResult": _FRAME_RESULT.json_schema(mode="serialization"),
        "Summary": _SUMMARY.json_schema(mode="serialization"),
    }
