"""Which version of a model a caller asks for by `Accept: application/vnd.sightline.vision.v2.1+json`.

Source: RFC 9110, 12.4.2 (quality values) and 12.5.1 (Accept); MISSION.md row 113.
"""

import re
from typing import Final, TypeAlias

Wish: TypeAlias = str | None
"""The first numbers of a version, `2`, `2.1` or `2.1.3`; None is any version."""

_VERSIONED: Final = re.compile(
    r"application/vnd\.sightline\.vision\.v((?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,2})\+json"
)
_ANY: Final = frozenset(
    {"*/*", "application/*", "application/json", "application/x-ndjson", "text/event-stream", "multipart/*"}
)
"""Whoever takes one of these as well takes every version."""
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def wishes_of(accept: str) -> tuple[Wish, ...]:
    """The versions that the header asks for, the dearest first; empty where it names none.

    Equal qualities: a version goes before what takes any, longer before shorter, then as they stand. A member with a
    quality of 0, or one that is none, wishes for nothing; so do types that are not ours.
    """
    found: list[tuple[float, int, int, Wish]] = []
    for place, member in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in member.split(";"))
        versioned = _VERSIONED.fullmatch(name)
        quality = _quality(parameters)
        if quality > 0 and (versioned or name in _ANY):
            wish = versioned[1] if versioned else None
            found.append((-quality, -len(wish.split(".")) if wish else 1, place, wish))
    wishes = tuple(dict.fromkeys(wish for *_, wish in sorted(found, key=lambda each: each[:3])))
    return () if wishes == (None,) else wishes


def _quality(parameters: list[str]) -> float:
    """1 without a `q`, 0 where it is not a quality value."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value.strip()) if _QUALITY.fullmatch(value.strip()) else 0.0
    return 1.0
