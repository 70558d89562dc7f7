"""Events as JSON: one writer and one set of schemas for every transport."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from app.core.result import Event
from app.core.wire import WireEvent

Json: TypeAlias = dict[str, Any]
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_EMPTY: tuple[Any, ...] = ((), {})


def to_json(event: Event) -> bytes:
    """The event as JSON, its fields in the contract's order; fields that hold nothing are left out."""
    return written(_plain(event))


def wire(event: Event, *, after_seq: int = -1) -> WireEvent:
    """The event as it leaves the service; `after_seq` is the newest frame before one that names none."""
    own: int | None = getattr(event, "seq", None)
    # A gap stands for the frames in it: who has it goes on behind the last of them.
    told = event.next_seq - 1 if hasattr(event, "next_seq") else own
    seq = after_seq if told is None else told
    return WireEvent(event_id=event.event_id, kind=kind_of(event), seq=seq, body=to_json(event))


def kind_of(event: Event) -> str:
    """The last part of its schema's name."""
    return event.schema.rsplit(".", 1)[-1]


@cache
def schemas() -> dict[str, Json]:
    """The JSON Schema of every event, by its kind; not to be changed."""
    documents = json.loads(files(__package__).joinpath("schemas.json").read_text(encoding="utf-8"))
    return {kind: document for kind, document in documents.items() if kind != "$comment"}


@cache
def is_required(part: str, name: str) -> bool:
    """Whether field `name` of `part`, an event or what it is made of, is always written."""
    documents = schemas().values()
    known = {document["title"]: document for top in documents for document in (top, *top.get("$defs", {}).values())}
    return name in known[part]["required"]


def written(document: Json) -> bytes:
    """The document as the contract writes JSON: UTF-8 without spaces; ValueError for what JSON has no number for."""
    return _ENCODER.encode(document).encode()


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC; ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time of the contract has a time zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """How one field is written; `convert` None: as it is."""

    name: str
    convert: Callable[[Any], Any] | None
    is_required: bool


def _plain(value: object) -> Json:
    plain: Json = {}
    part: Any = type(value)
    for one in _plan(part):
        held = getattr(value, one.name)
        if held is not None and (one.is_required or held not in _EMPTY):
            plain[one.name] = held if one.convert is None else one.convert(held)
    return plain


@cache
def _plan(part: type) -> tuple[_Field, ...]:
    hints = get_type_hints(part)
    return tuple(
        _Field(
            name=one.name,
            convert=_conversion(hints[one.name]),
            is_required=is_required(part.__name__, one.name),
        )
        for one in fields(part)
    )


def _conversion(hint: Any) -> Callable[[Any], Any] | None:
    """How a value of that type becomes plain; None where it is already."""
    if hint is datetime:
        return utc_text
    if is_dataclass(hint):
        return _plain
    convert = next(filter(None, map(_conversion, get_args(hint))), None)
    if convert is None:
        return None
    if get_origin(hint) is tuple:
        return lambda items: [convert(item) for item in items]
    if get_origin(hint) is dict:
        return lambda entries: {key: convert(entry) for key, entry in entries.items()}
    return convert
