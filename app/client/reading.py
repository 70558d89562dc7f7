"""What a service writes, read back: events as the contract's types, and the words of a connection."""

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from app.client.errors import AnswerError
from app.core.result import Event

T = TypeVar("T")
_Reader: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """So many frames more may be sent."""

    schema: str = "sightline.v1.Credit"
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Every frame up to `seq` is captured, and its end is told."""

    schema: str = "sightline.v1.Ack"
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The connection is about to end: connect anew with the token after `reconnect_after_s`."""

    schema: str = "sightline.v1.GoAway"
    resume_token: str
    reason: str
    reconnect_after_s: float


Told: TypeAlias = Event | Credit | Ack | GoAway
"""All that comes over a live connection."""
_KINDS: dict[str, Any] = {f"sightline.v1.{kind.__name__}": kind for kind in get_args(Told)}


def told(text: str | bytes) -> Told | None:
    """The event or control word whose JSON is `text`; None for a kind that this version does not know.

    AnswerError when it is neither. Keys that are not known are passed over.
    """
    try:
        document = json.loads(text)
        kind = _KINDS.get(_of((str,), document["schema"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise AnswerError("the message is no event") from None
    if kind is None:
        return None
    message: Told = read(kind, document)
    return message


def read(kind: type[T], document: object) -> T:
    """The value of that dataclass whose JSON is `document`; AnswerError when a field is missing or of another type."""
    try:
        value: T = _part(cast("Any", kind))(document)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise AnswerError(f"not a {kind.__name__}: {error}") from None
    return value


@cache
def _part(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
    required = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}

    def part(document: dict[str, Any]) -> Any:
        if missing := required - document.keys():
            raise ValueError(f"{', '.join(sorted(missing))} missing")
        return kind(**{name: reader(document[name]) for name, reader in readers.items() if name in document})

    return part


def _reader(hint: Any) -> _Reader:
    """How a value of that type is read."""
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin in {Union, UnionType}:
            return _optional(*(_reader(argument) for argument in arguments if argument is not NoneType))
        case origin if origin is tuple:
            items = [_reader(argument) for argument in arguments if argument is not ...]
            return _fixed(items) if ... not in arguments else _list(items[0])
        case origin if origin is dict:
            return _entries(_reader(arguments[1]))
        case _:
            return _single(hint)


def _single(kind: Any) -> _Reader:
    if is_dataclass(kind):
        return _part(cast("Any", kind))
    if kind is datetime:
        return datetime.fromisoformat
    if issubclass(kind, Enum):
        words: _Reader = kind
        return words
    accepted = (int, float) if kind is float else (kind,)
    return lambda value: kind(_of(accepted, value))


def _optional(only: _Reader) -> _Reader:
    return lambda value: None if value is None else only(value)


def _fixed(items: list[_Reader]) -> _Reader:
    return lambda value: tuple(item(entry) for item, entry in zip(items, _of((list,), value), strict=True))


def _list(item: _Reader) -> _Reader:
    return lambda value: tuple(item(entry) for entry in _of((list,), value))


def _entries(item: _Reader) -> _Reader:
    return lambda value: {key: item(entry) for key, entry in value.items()}


def _of(kinds: tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{str(value)[:40]!r} is no {kinds[-1].__name__}")
    return value
