"""How well an engine finds what is known to be there: mean average precision over labelled frames.

Source: COCO's evaluation (pycocotools, cocoeval.py), without areas, crowds and objects to be ignored.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.frame import Boxes, Detections, Frame, FrameRef, Pixels
from app.core.model import ModelSpec
from app.core.ports import Engine
from app.vision.letterbox import fit
from app.vision.nms import areas
from app.vision.postprocess import Thresholds, detections

MAX_LOSS = 0.02
"""What a smaller precision may cost in mAP50-95, either way: beyond that it is another model."""
HELD_OUT_SEED = 900_000
"""The first of the camera farm's streets that no model is trained or calibrated on."""
_IOUS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_THRESHOLDS = Thresholds(conf=0.001, iou=0.7)
"""Ultralytics' own for validation: the curve needs the doubtful objects too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrame:
    """A picture `(h, w, 3)` RGB and what must be found in it: `xyxy` `(n, 4)` in its pixels, `label` `(n,)`."""

    rgb: Pixels
    xyxy: Boxes
    label: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Means over the labels that occur in the frames, in [0, 1]; `by_label` is each label's AP50-95."""

    map50: float
    map50_95: float
    by_label: dict[str, float]
    frames: int
    objects: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """The objects found in some frames: `score` `(n,)`, `label` `(n,)`, and at which IoUs each is right `(n, 10)`."""

    score: NDArray[np.float32]
    label: NDArray[np.int32]
    is_right: NDArray[np.bool_]


def accuracy(engine: Engine, frames: Iterable[LabelledFrame]) -> Accuracy:
    """Return how well the engine does on the frames, through the same letterbox and suppression that serve.

    ModelError when the frames show nothing that could be found.
    """
    judged, truths = [], []
    for frame in frames:
        judged.append(_judge(_found(engine, frame), frame))
        truths.append(frame.label)
    counts = np.bincount(np.concatenate([np.zeros(0, np.int32), *truths]), minlength=len(engine.spec.labels))
    if not counts.any():
        raise ModelError("frames without any object measure nothing")
    score = np.concatenate([part.score for part in judged])
    order = np.argsort(-score, kind="stable")
    label = np.concatenate([part.label for part in judged])[order]
    is_right = np.concatenate([part.is_right for part in judged])[order]
    precisions = {
        number: _average_precisions(is_right[label == number], n_truths=int(counts[number]))
        for number in np.flatnonzero(counts)
    }
    return Accuracy(
        map50=float(np.mean([values[0] for values in precisions.values()])),
        map50_95=float(np.mean([values.mean() for values in precisions.values()])),
        by_label={engine.spec.labels[number]: float(values.mean()) for number, values in precisions.items()},
        frames=len(truths),
        objects=int(counts.sum()),
    )


def farm_frames(
    spec: ModelSpec, *, first_seed: int, streets: int, frames_per_street: int = 3
) -> Iterator[LabelledFrame]:
    """Return frames of the camera farm; ModelError for a model whose labels are not the farm's."""
    from engines.demo_model.dataset import Recipe, labelled_frames
    from load_tests.camfarm.actor import LABEL_NAMES

    if spec.labels != LABEL_NAMES:
        raise ModelError(f"the camera farm shows {', '.join(LABEL_NAMES)}; this model knows other labels")
    input_px = max(spec.input_width_px, spec.input_height_px)
    recipe = Recipe(first_seed=first_seed, seeds=streets, frames_per_seed=frames_per_street, input_px=input_px)
    return labelled_frames(recipe)


def check_accuracy(measured: Accuracy, reference: Accuracy) -> None:
    """Raise a ModelError where the artefact is not as good as the model it was made from, on the same frames.

    Better by as much is no comfort: then it is not the same model either.
    """
    if not abs(measured.map50_95 - reference.map50_95) <= MAX_LOSS:
        raise ModelError(
            f"mAP50-95 is {measured.map50_95:.4f} in place of {reference.map50_95:.4f}; {MAX_LOSS} apart is allowed"
        )


def _found(engine: Engine, frame: LabelledFrame) -> Detections:
    """Return what the engine sees in the frame, served as any frame is."""
    height_px, width_px = frame.rgb.shape[:2]
    served = Frame(
        rgb=frame.rgb,
        source_width_px=width_px,
        source_height_px=height_px,
        ref=FrameRef(stream_id="accuracy", epoch=0, seq=0),
    )
    spec = engine.spec
    fitted = fit(served, width_px=spec.input_width_px, height_px=spec.input_height_px)
    return detections(engine.infer(fitted.canvases), fitted, spec, thresholds=_THRESHOLDS)


def _judge(found: Detections, frame: LabelledFrame) -> _Judged:
    """Return which objects are right: best first, each takes the truth of its label that it overlaps most, once."""
    overlap = _overlaps(found.xyxy, frame.xyxy)
    overlap[found.label[:, None] != frame.label[None]] = 0
    is_right = np.zeros((len(found.score), len(_IOUS)), bool)
    for column, least in enumerate(_IOUS):
        is_free = np.ones(len(frame.label), bool)
        for row in np.argsort(-found.score, kind="stable"):
            shares = np.where(is_free, overlap[row], 0)
            if shares.max(initial=0) >= least:
                is_free[shares.argmax()] = False
                is_right[row, column] = True
    return _Judged(found.score, found.label, is_right)


def _overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of every box with every other, `(n, m)`; of two without area 0."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = areas(first)[:, None] + areas(second)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _average_precisions(is_right: NDArray[np.bool_], *, n_truths: int) -> NDArray[np.float64]:
    """Return one average precision per IoU: the envelope's mean at 101 recalls; rows are best first."""
    hits = is_right.cumsum(axis=0)
    recall = hits / n_truths
    precision = hits / np.arange(1, len(hits) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    averages = np.zeros(len(_IOUS))
    for column in range(len(_IOUS)):
        at = np.searchsorted(recall[:, column], _RECALLS)
        reached = at[at < len(hits)]
        averages[column] = envelope[reached, column].sum() / len(_RECALLS)
    return averages


def main(argv: list[str] | None = None) -> int:
    """Print the accuracy of a model file on held-out frames of the camera farm, by ONNX Runtime on the CPU."""
    parser = argparse.ArgumentParser(prog="python -m engines.accuracy", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streets", type=int, default=100, help="that no model was trained or calibrated on")
    arguments = parser.parse_args(argv)
    from engines.model_file import read_model_file
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    try:
        engine = OnnxRuntimeEngine(read_model_file(arguments.model), streams=1)
        frames = farm_frames(engine.spec, first_seed=HELD_OUT_SEED, streets=arguments.streets)
    except ModelError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    measured = accuracy(engine, frames)
    lines = {
        "mAP50": round(measured.map50, 4),
        "mAP50_95": round(measured.map50_95, 4),
        "by_label": {label: round(value, 4) for label, value in measured.by_label.items()},
        "frames": measured.frames,
        "objects": measured.objects,
    }
    sys.stdout.write(json.dumps(lines, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
