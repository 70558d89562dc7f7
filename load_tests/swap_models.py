"""Versions of a model that are told apart by what they answer, for swaps: a folder of tiny networks, and their marks.

Every version sees one object in every picture, of 40 px where its mark says; the score says how bright the picture is,
so that an answer also shows whose picture it is of. Marks lie 0.1 px apart: versions that are alike agree.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from app.core.model import Head
from engines.onnx_sketch import Sketch, ultralytics_metadata
from load_tests.camfarm import encode_jpeg

MODEL: Final = "marks"
SIZE_PX: Final = 64
BOX_PX: Final = 40
LABELS: Final = ("kind0", "kind1", "kind2")
_STEP_PX: Final = 0.1
_DISPLACED_PX: Final = 14.0
_DIM, _BRIGHT = 0.5, 0.4
"""The score of a black picture, and what a white one has more."""
_ROUNDING_PX: Final = 0.03
_ROUNDING_SCORE: Final = 0.02
"""JPEG moves a flat grey by less than one level; the rest is the decimals of an answer."""
ERRONEOUS: Final = (0.20, 0.30)
"""A version that `is_erroneous` fails on pictures of this brightness; the golden pictures have others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The version number `n`, 0 to 99. One that `is_displaced` sees the object elsewhere than all others do."""

    n: int
    is_displaced: bool = False
    is_erroneous: bool = False

    @property
    def version(self) -> str:
        """Its name."""
        return f"1.{self.n}.0"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Where it sees the object, in pixels of the canvas."""
        left_px = 2 + (self.n % 10) * _STEP_PX + (_DISPLACED_PX if self.is_displaced else 0)
        top_px = 2 + (self.n // 10) * _STEP_PX
        return left_px, top_px, left_px + BOX_PX, top_px + BOX_PX


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A version in the folder."""

    mark: Mark
    path: Path
    sha256: str


def score_of(brightness: float) -> float:
    """What every version says of a picture of that brightness, 0 to 1."""
    return _DIM + _BRIGHT * brightness


def row_of(mark: Mark, brightness: float) -> list[float]:
    """The end-to-end row of a picture."""
    return [*mark.box, score_of(brightness), 0.0]


def network(mark: Mark) -> onnx.ModelProto:
    """The version's network, `(B, 1, 6)` end to end."""
    sketch = Sketch(size_px=SIZE_PX)
    mean = sketch.node("ReduceMean", "images", sketch.ints((1, 2, 3)), keepdims=1)
    brightness = sketch.reshape(mean, (-1, 1, 1))
    row = np.array([[row_of(mark, 0.0)]], np.float32)
    by_brightness = np.array([[[0, 0, 0, 0, _BRIGHT, 0]]], np.float32)
    output = sketch.node("Add", sketch.node("Mul", brightness, sketch.constant(by_brightness)), sketch.constant(row))
    if mark.is_erroneous:
        output = sketch.node("Add", output, _fault(sketch, brightness))
    return sketch.model(output, shape=(1, 6), metadata={**ultralytics_metadata(len(LABELS)), "end2end": "True"})


def _fault(sketch: Sketch, brightness: str) -> str:
    """0 for each picture, and an index that is not there as soon as one of them is of that brightness."""
    low, high = ERRONEOUS
    is_over = sketch.node("Greater", brightness, sketch.constant(np.float32(low)))
    is_under = sketch.node("Less", brightness, sketch.constant(np.float32(high)))
    index = sketch.node("Mul", *(sketch.node("Cast", one, to=onnx.TensorProto.INT64) for one in (is_over, is_under)))
    far = sketch.node("Mul", index, sketch.ints((1_000_000,)))
    return sketch.node("Gather", sketch.constant(np.zeros(1, np.float32)), far, axis=0)


def write(folder: Path, marks: Sequence[Mark]) -> dict[str, Written]:
    """Write the versions as `folder/marks/<version>/`; by their names."""
    written = {}
    for mark in marks:
        content = network(mark).SerializeToString()
        written[mark.version] = put(folder, mark, content)
    return written


def put(folder: Path, mark: Mark, content: bytes) -> Written:
    """Write one version whose model file has that content, whatever it is worth."""
    target = folder / MODEL / mark.version
    target.mkdir(parents=True)
    sha256 = hashlib.sha256(content).hexdigest()
    path = target / "model.onnx"
    path.write_bytes(content)
    card: dict[str, Any] = {
        "name": MODEL,
        "version": mark.version,
        "labels": list(LABELS),
        "files": {path.name: sha256},
        "input": {"width_px": SIZE_PX, "height_px": SIZE_PX, "colour": "RGB", "range": [0, 1]},
        "head": {"kind": Head.END_TO_END.value},
    }
    (target / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return Written(mark=mark, path=path, sha256=sha256)


def pictures(count: int = 12) -> dict[float, bytes]:
    """Flat pictures of the canvas' size as JPEGs, by their brightness; none is of those that `ERRONEOUS` names."""
    levels = np.linspace(90, 250, count).astype(np.uint8)
    return {int(level) / 255: flat(int(level)) for level in levels}


def flat(level: int) -> bytes:
    """One of them, of that level, 0 to 255."""
    return encode_jpeg(np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8), quality=95)


def version_seen(boxes: Sequence[Sequence[float]], known: Mapping[str, Mark]) -> str | None:
    """Which of the known versions answers with these boxes; None where it is not exactly one."""
    if len(boxes) != 1:
        return None
    fitting = [
        version
        for version, mark in known.items()
        if max(abs(a - b) for a, b in zip(boxes[0], mark.box, strict=True)) <= _ROUNDING_PX
    ]
    return fitting[0] if len(fitting) == 1 else None


def is_of_picture(score: float, brightness: float) -> bool:
    """Whether an answer with that score is one to a picture of that brightness."""
    return abs(score - score_of(brightness)) <= _ROUNDING_SCORE
