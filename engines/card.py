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

    In the file: `name, version, labels, sha256` (hexadecimal), `input: {width_px, height_px, colour: "RGB" | "BGR",
    range: [0, 1] | [0, 255]}`, `head: {kind: a value of Head}`.
    """

    name: str | None = None
    version: str | None = None
    labels: tuple[str, ...] | None = None
    sha256: str | None = None
    head: str | None = None
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
    pixels = _value(content, "input", dict) or {}
    return Card(
        name=_value(content, "name", str),
        version=_value(content, "version", str),
        labels=None if labels is None else tuple(str(label) for label in labels),
        sha256=_value(content, "sha256", str),
        head=_value(_value(content, "head", dict) or {}, "kind", str),
        input_width_px=_value(pixels, "width_px", int),
        input_height_px=_value(pixels, "height_px", int),
        scale=_scale(_value(pixels, "range", list)),
        channel_order=_channel_order(_value(pixels, "colour", str)),
    )


def _value(content: dict[str, object], key: str, kind: type[T]) -> T | None:
    """Return the entry if it is there and of its kind."""
    value = content.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise ModelError(f'"{key}" in {CARD_NAME} has the wrong type')


def _scale(value_range: list[object] | None) -> float | None:
    """Return what a pixel is multiplied with to lie in the range."""
    scales = {"[0, 1]": 1 / 255, "[0, 255]": 1.0}
    if value_range is None:
        return None
    if str(value_range) not in scales:
        raise ModelError(f'"range" in {CARD_NAME} must be [0, 1] or [0, 255]')
    return scales[str(value_range)]


def _channel_order(colour: str | None) -> str | None:
    """Return the order in lower case."""
    if colour is not None and colour.lower() not in {"rgb", "bgr"}:
        raise ModelError(f'"colour" in {CARD_NAME} must be RGB or BGR')
    return None if colour is None else colour.lower()
