"""A stream's spec as JSON, for stores that outlive this version of the code."""

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from app.core.errors import SightlineError, SnapshotError
from app.pipeline.stream_spec import StreamSpec


def spec_text(spec: StreamSpec) -> str:
    """The spec as one line of JSON."""
    return json.dumps(_plain(spec), allow_nan=False, separators=(",", ":"))


@lru_cache(maxsize=4096)  # a list of streams is asked for often, and its specs seldom change
def spec_of(text: str) -> StreamSpec:
    """The spec that `spec_text` wrote down; fields that it did not know take their defaults. Else SnapshotError."""
    try:
        value = json.loads(text)
        found: StreamSpec = _read(StreamSpec, value)
    except (ValueError, TypeError, KeyError, RecursionError, SightlineError) as error:
        raise SnapshotError(f"the spec of a stream cannot be read: {error}") from None
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    return value.value if isinstance(value, Enum) else value


def _read(hint: Any, value: Any) -> Any:  # noqa: PLR0911  one line a kind
    """`value` as the type that a field is declared with; ValueError or TypeError when it is not."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _read_one_of(inner, value)
    if is_dataclass(hint):
        return _read_record(hint, value)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_read(kind, item) for kind, item in zip(kinds, value, strict=True))
    if origin is frozenset and isinstance(value, list):
        return frozenset(_read(inner[0], item) for item in value)
    if origin is Literal and value in inner:
        return value
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint in (str, int, float, bool, NoneType) and type(value) is hint:
        return value
    raise ValueError(f"{value!r:.80} is no {hint}")


def _read_one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """The first of the kinds that fits."""
    for kind in kinds:
        try:
            return _read(kind, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{value!r:.80} is none of {kinds}")


def _read_record(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is no {kind.__name__}")
    hints = _hints(kind)
    if unknown := value.keys() - hints.keys():
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**{name: _read(hints[name], item) for name, item in value.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
