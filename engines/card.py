"""The card of a model's version, `card.json`: what the ONNX file cannot say, and what every file's SHA-256 is."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from app.core.errors import ModelError
from engines.plain_files import PLAIN_NAME

CARD_NAME = "card.json"
MAX_CARD_BYTES = 1 << 20
PRECISIONS = ("fp32", "fp16", "int8", "fp8")
"""What the weights of an artefact are kept in; its inputs and outputs are float32 in each."""
_MAX_FILES = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Facts about one version of a model, None or empty where the card is silent; other keys are for people.

    In the file: `name, version, labels, precision, files: {name: sha256}, input: {width_px, height_px, colour: "RGB" |
    "BGR", range: [0, 1] | [0, 255]}, head: {kind: a value of Head}, quality: {figure: number}`; `sha256` is the model
    file's alone, in cards without `files`. All hashes are hexadecimal. The files' names are bare: no folders.
    """

    name: str | None = None
    version: str | None = None
    labels: tuple[str, ...] | None = None
    sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    head: str | None = None
    input_width_px: int | None = None
    input_height_px: int | None = None
    scale: float | None = None
    channel_order: str | None = None


def parse_card(data: bytes) -> Card:
    """Return what the bytes of a `card.json` say; ModelError where they are no card."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{CARD_NAME} is not JSON") from error
    if not isinstance(content, dict):
        raise ModelError(f"{CARD_NAME} must hold one object")
    labels = _value(content, "labels", list)
    pixels = _value(content, "input", dict) or {}
    sha256 = _value(content, "sha256", str)
    return Card(
        name=_value(content, "name", str),
        version=_value(content, "version", str),
        labels=None if labels is None else tuple(str(label) for label in labels),
        sha256=None if sha256 is None else sha256.lower(),
        files=_files(_value(content, "files", dict) or {}),
        precision=_precision(content),
        quality=_quality(_value(content, "quality", dict) or {}),
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


def _files(entries: dict[str, object]) -> dict[str, str]:
    """Return each file's hash; the card itself cannot be among them."""
    if len(entries) > _MAX_FILES:
        raise ModelError(f'"files" in {CARD_NAME} names more than {_MAX_FILES} files')
    files = {}
    for name, sha256 in entries.items():
        if not PLAIN_NAME.fullmatch(name) or name == CARD_NAME:
            raise ModelError(f'"files" in {CARD_NAME} names something else than a file beside it')
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            raise ModelError(f'"files" in {CARD_NAME} must give each file its SHA-256')
        files[name] = sha256.lower()
    return files


def _precision(content: dict[str, object]) -> str | None:
    """Return the precision; in cards of before it was named, a number of that name is a figure of quality."""
    if isinstance(content.get("precision"), float):
        return None
    precision = _value(content, "precision", str)
    if precision not in {*PRECISIONS, None}:
        raise ModelError(f'"precision" in {CARD_NAME} must be one of {", ".join(PRECISIONS)}')
    return precision


def _quality(figures: dict[str, object]) -> dict[str, float]:
    """Return the figures that are numbers; what is nested or said in words is for people."""
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


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
