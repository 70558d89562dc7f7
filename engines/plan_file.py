"""A plan with a few words before it: what it was built from and for, readable without a GPU and without TensorRT.

The frame is Ultralytics': four bytes of length, little-endian, and so much JSON. A plan of TensorRT alone has none.
"""

import json
from collections.abc import Mapping
from typing import Any

from app.core.errors import ModelError
from engines.plan_key import PlanTarget

_LENGTH_BYTES = 4
_MAX_JSON_BYTES = 1 << 20


def with_words(words: Mapping[str, Any], plan: bytes) -> bytes:
    """Return the plan behind its words."""
    content = json.dumps(words).encode()
    return len(content).to_bytes(_LENGTH_BYTES, "little") + content + plan


def split_plan(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return words and plan; no words and all of the data where the length does not fit or what follows is no JSON.

    ModelError where nothing is left for a plan.
    """
    length_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length_bytes
    words: object = None
    if 0 < length_bytes <= _MAX_JSON_BYTES and end <= len(data):
        try:
            words = json.loads(data[_LENGTH_BYTES:end])
        except (ValueError, RecursionError):
            words = None
    if not isinstance(words, dict):
        words, end = {}, 0
    if end >= len(data):
        raise ModelError("there is no plan in this file")
    return words, data[end:] if end else data


def check_target(words: Mapping[str, Any], target: PlanTarget) -> None:
    """Raise a ModelError where the words name another GPU or another TensorRT than this machine's.

    A plan without words is let through: TensorRT itself refuses what is foreign.
    """
    here = {"tensorrt": target.tensorrt, "device": target.device, "compute_capability": [*target.compute_capability]}
    for name, value in here.items():
        if name in words and words[name] != value:
            raise ModelError(
                f"this plan was built for the {name.replace('_', ' ')} {shown(words[name])}; here it is {value}"
            )


def shown(value: object, *, longest: int = 80) -> str:
    """Return what a foreign file says, fit for a terminal: printable, and cut to so many of its letters."""
    text = str(value)
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:longest])
    return line if len(text) <= longest else f"{line}…"
