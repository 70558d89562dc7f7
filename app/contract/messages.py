"""Events as protobuf messages, and back: the same event, whichever way it travels."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.message import Message

from app.contract import vision_pb2
from app.contract.events import Json, is_required, utc_text, written

EventMessage: TypeAlias = (
    vision_pb2.FrameResult
    | vision_pb2.Gap
    | vision_pb2.Summary
    | vision_pb2.LineCrossed
    | vision_pb2.ZoneEntered
    | vision_pb2.ZoneLeft
    | vision_pb2.ZoneDwell
    | vision_pb2.StreamState
)
_NAMES: dict[str, str] = {kind.message_type.name: kind.name for kind in vision_pb2.Event.DESCRIPTOR.fields}  # type: ignore[union-attr]
"""The name that `Event` has for each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One field of an event. `words` are its enum's values by number, `part` describes the message that it holds."""

    name: str
    is_list: bool
    is_map: bool
    is_required: bool
    is_time: bool
    words: dict[int, str]
    part: Any

    @property
    def is_alike(self) -> bool:
        """Whether protobuf takes its JSON as it is."""
        if self.is_time or self.words:
            return False
        return self.part is None or all(one.is_alike for one in _fields(self.part))


def to_message(body: bytes, kind: str) -> EventMessage:
    """The event of that kind whose JSON is `body`; ValueError when there is no such kind, or it is no such event.

    That a field is missing is not noticed: `body` comes from a writer of the contract.
    """
    if kind not in _NAMES:
        raise ValueError(f"there is no event {kind}")
    message_type = getattr(vision_pb2, kind)
    try:
        given = json.loads(body)
        if given["schema"] != message_type.DESCRIPTOR.full_name:
            raise ValueError(f"not a {kind}: its schema is another")
        message: EventMessage = message_type(**_typed(given, message_type.DESCRIPTOR))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"not a {kind}: {error}") from error
    return message


def to_event(body: bytes, kind: str) -> vision_pb2.Event:
    """The same as one of any kind."""
    message: Any = to_message(body, kind)
    return vision_pb2.Event(**{_NAMES[kind]: message})


def to_frame_result(body: bytes) -> vision_pb2.FrameResult:
    """The result whose JSON is `body`; ValueError when it is none."""
    message: Any = to_message(body, "FrameResult")
    result: vision_pb2.FrameResult = message
    return result


def from_message(message: EventMessage | vision_pb2.Event) -> bytes:
    """The event's JSON. What only transports carry and what this version does not know is passed over.

    ValueError for a message that is no event: one without a kind, or that tells of no frame.
    """
    if not isinstance(message, vision_pb2.Event):
        return written(_plain(message))
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError("an event of a kind that this version does not know")
    return written(_plain(getattr(message, kind)))


def _typed(document: Json, part: Any) -> Json:
    """The document with enums as protobuf names them and times as such."""
    unlike = (one for one in _fields(part) if one.name in document and not one.is_alike)
    return {**document, **{one.name: _typed_field(document[one.name], one) for one in unlike}}


def _typed_field(value: Any, one: _Field) -> Any:
    if one.is_list:
        return [_typed_value(item, one) for item in value]
    if one.is_map:
        return {key: _typed_value(item, one) for key, item in value.items()}
    return _typed_value(value, one)


def _typed_value(value: Any, one: _Field) -> Any:
    if one.words:
        return {word: number for number, word in one.words.items()}[value]
    return datetime.fromisoformat(value) if one.is_time else _typed(value, one.part)


def _plain(message: Message) -> Json:
    return {
        one.name: _plain_field(getattr(message, one.name), one)
        for one in _fields(message.DESCRIPTOR)
        if one.is_required or _is_held(message, one)
    }


def _is_held(message: Message, one: _Field) -> bool:
    return len(getattr(message, one.name)) > 0 if one.is_list or one.is_map else message.HasField(one.name)


def _plain_field(value: Any, one: _Field) -> Any:
    if one.is_list:
        return [_plain_value(item, one) for item in value]
    if one.is_map:
        return {key: _plain_value(value[key], one) for key in sorted(value)}
    return _plain_value(value, one)


def _plain_value(value: Any, one: _Field) -> Any:
    if one.words:
        if value not in one.words:
            raise ValueError(f"{one.name} {value} is none of an event")
        return one.words[value]
    if one.is_time:
        return utc_text(value.ToDatetime(tzinfo=UTC))
    return value if one.part is None else _plain(value)


@cache
def _fields(part: Any) -> tuple[_Field, ...]:
    """The fields of the message that `part` describes, without what only transports add."""
    rule: Any = vision_pb2.rule
    return tuple(_field(part, one) for one in part.fields if not one.GetOptions().Extensions[rule].transport)


def _field(part: Any, one: Any) -> _Field:
    is_map = one.message_type is not None and one.message_type.GetOptions().map_entry
    of = one.message_type.fields_by_name["value"] if is_map else one
    is_time = of.message_type is not None and of.message_type.full_name == "google.protobuf.Timestamp"
    return _Field(
        name=one.name,
        is_list=one.is_repeated and not is_map,
        is_map=is_map,
        is_required=is_required(part.name, one.name),
        is_time=is_time,
        words={} if of.enum_type is None else _words(of.enum_type),
        part=None if is_time else of.message_type,
    )


def _words(enum: Any) -> dict[int, str]:
    """An enum's values as JSON has them: `STATUS_RESULT` of `Status` is `result`."""
    prefix = f"{enum.name}_".upper()
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values if value.number != 0}
