"""Strict reading of what a snapshot holds: every record has its fields, of their types, and nothing else."""

from dataclasses import fields
from math import isfinite
from typing import Any, TypeVar, get_type_hints

from app.core.errors import SnapshotError

T = TypeVar("T")


def plain(value: object) -> dict[str, Any]:
    """The fields of a dataclass whose values are plain already: `dataclasses.asdict` would copy each of them."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


def record(kind: type[T], value: object) -> T:
    """The dataclass `kind` from a mapping of its fields, which are bool, int, str, float or float | None.

    Else SnapshotError. An int may stand for a float, a bool for nothing else; floats are finite, ints >= 0.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    mapping = table(value, names)
    return kind(**{name: _scalar(hints[name], mapping[name], name) for name in names})


def records(kind: type[T], value: object) -> dict[int, T]:
    """Records of a `kind` that has a `track_id`, by that id; SnapshotError where one comes twice."""
    found = [record(kind, item) for item in items(value)]
    by_id: dict[int, T] = {item.track_id: item for item in found}  # type: ignore[attr-defined]
    if len(by_id) < len(found):
        raise SnapshotError("the snapshot holds a track twice")
    return by_id


def table(value: object, names: list[str]) -> dict[str, Any]:
    """The mapping itself when its keys are exactly `names`; else SnapshotError."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise SnapshotError(f"the snapshot must hold {', '.join(names)}")
    return value


def items(value: object, *, count: int | None = None) -> list[Any]:
    """The list itself; SnapshotError when it is none, or not of `count` items where that is given."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise SnapshotError("the snapshot must hold a list here, of one item for each line or zone")
    return value


def counts(value: object) -> dict[str, int]:
    """A copy of a mapping from names to counts above 0; else SnapshotError."""
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and type(count) is int and count > 0 for name, count in value.items()
    ):
        raise SnapshotError("the snapshot must hold counts by name here")
    return dict(value)


def _scalar(hint: object, value: object, name: str) -> object:
    if value is None and hint == float | None:
        return None
    if hint in (float, float | None) and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= 1e300 and isfinite(value):  # noqa: PLR2004 - larger ints do not fit into a float
            return float(value)
    elif (hint is int and type(value) is int and value >= 0) or (hint in (bool, str) and type(value) is hint):
        return value
    raise SnapshotError(f"{name} in the snapshot is not what it must be")
