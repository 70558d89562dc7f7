"""The card beside a model: `card.json`, what the ONNX file itself cannot say."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.core.errors import ModelError

CARD_NAME = "card.json"
_MAX_BYTES = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Facts about one model file, None where the card is silent; it holds no paths, and other keys are for people.

    `head` is a `Head` value, `scale` and `channel_order` override what the head implies, `sha256` is hexadecimal.
    """

    name: str | None = None
    version: str | None = None
    labels: tuple[str, ...] | None = None
    head: str | None = None
    sha256: str | None = None
    input_width_px: int | None = None
    input_height_px: int | None = None
    scale: float | None = None
    channel_order: str | None = None


def read_card(folder: Path) -> Card:
    """Return the folder's card, an empty one where there is none."""
    path = folder / CARD_NAME
    if not path.is_file():
        return Card()
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{CARD_NAME} is larger than {_MAX_BYTES} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{CARD_NAME} is not JSON") from error
    if not isinstance(content, dict):
        raise ModelError(f"{CARD_NAME} must hold one object")
    labels = _value(content, "labels", list)
    if isinstance(content.get("scale"), int):
        content["scale"] = float(content["scale"])
    return Card(
        name=_value(content, "name", str),
        version=_value(content, "version", str),
        labels=None if labels is None else tuple(str(label) for label in labels),
        head=_value(content, "head", str),
        sha256=_value(content, "sha256", str),
        input_width_px=_value(content, "input_width_px", int),
        input_height_px=_value(content, "input_height_px", int),
        scale=_value(content, "scale", float),
        channel_order=_value(content, "channel_order", str),
    )


def _value(content: dict[str, object], key: str, kind: type[T]) -> T | None:
    """Return the entry if it is there and of its kind."""
    value = content.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise ModelError(f'"{key}" in {CARD_NAME} has the wrong type')
