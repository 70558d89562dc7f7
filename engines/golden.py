"""Whether an engine computes sense: built-in pictures go through it before it may answer anybody.

Tolerances are those that hold between our runtimes (`tests/contract/test_engine_parity.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.frame import Boxes, Frame, FrameRef, Pixels
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput
from app.vision.example import example_picture
from app.vision.heads import Candidates, candidates
from app.vision.layouts import identify
from app.vision.letterbox import fit
from app.vision.nms import areas
from app.vision.postprocess import Thresholds, detections

CONF: Final = 0.05
"""Objects that score less are not written down. Low, because a network sees little in drawn shapes."""
MAX_SCORE_DIFFERENCE: Final = 0.02
MAX_EDGE_DIFFERENCE_PX: Final = 1.0
"""On a canvas of 640 px, in proportion on others."""
_MIN_TIE_IOU: Final = 0.7
_MAX_SCORE: Final = 1.001
"""Scores are probabilities; the rest is for rounding."""
_ROUNDING: Final = 1e-4
_GREY: Final = 114
COMPARED: Final = 6
"""All golden pictures but the noise, in which tiny differences may grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenObject:
    """An object in golden picture number `picture`, 0 being the example: its class's name, score, canvas pixels."""

    label: str
    score: float
    xyxy: tuple[float, float, float, float]
    picture: int = 0


def golden_check(engine: Engine, expected: Sequence[GoldenObject] | None = None) -> None:
    """Return if all is well; a ModelError says what is wrong with the engine's answers.

    They must be finite and laid out as the specification says, scores at most 1, and depend on the picture. With
    `expected`, what `golden_objects` gave for the same version, each of those objects is seen, and no other in the
    example and in the pictures that they are in; scores near `CONF` may fall on either side. Weights that are not
    numbers show up as values that are not finite or, where a runtime clamps those, as one answer to everything.
    """
    answers = [_answer(engine, picture) for picture in golden_pictures(engine.spec)]
    if all(np.array_equal(answers[0], answer) for answer in answers[1:]):
        raise ModelError("the model gives the same answer to every picture")
    if expected is None:
        return
    for picture in sorted({0} | {wanted.picture for wanted in expected}):
        if not 0 <= picture < COMPARED:
            raise ModelError(f"golden outputs are of pictures 0 to {COMPARED - 1}, not {picture}")
        _compare(answers[picture], [wanted for wanted in expected if wanted.picture == picture], engine.spec)


def golden_pictures(spec: ModelSpec) -> list[Pixels]:
    """Canvases for the model: the example, mirrored and with its colours turned; black, grey, white, and noise."""
    height_px, width_px = spec.input_height_px, spec.input_width_px
    example = example_picture(width_px=width_px, height_px=height_px)
    plain = [np.full_like(example, value) for value in (0, _GREY, 255)]
    noise = np.random.default_rng(1).integers(0, 256, example.shape, dtype=np.uint8)
    return [example, np.ascontiguousarray(example[:, ::-1]), np.roll(example, 1, axis=2), *plain, noise]


def golden_objects(engine: Engine) -> tuple[GoldenObject, ...]:
    """What the engine sees in the first `COMPARED` pictures: to be kept beside the model, for `golden_check`."""
    return tuple(
        replace(found, picture=number)
        for number, picture in enumerate(golden_pictures(engine.spec)[:COMPARED])
        for found in _seen(_answer(engine, picture), engine.spec, conf=CONF)
    )


def _answer(engine: Engine, canvas: Pixels) -> RawOutput:
    """The checked row of one canvas."""
    spec = engine.spec
    rows = engine.infer([canvas])
    identify(
        [(None, *rows.shape[1:])],
        input_shape=(None, 3, spec.input_height_px, spec.input_width_px),
        metadata={"head": spec.head},
        n_labels=len(spec.labels),
    )
    if len(rows) != 1:
        raise ModelError(f"the model gives {len(rows)} rows for one picture")
    if not np.isfinite(rows).all():
        raise ModelError("the model computes values that are not finite numbers; are its weights?")
    row: RawOutput = rows[0].copy()
    if len(candidates(row, spec, min_score=_MAX_SCORE).score):
        raise ModelError("the model's scores are no probabilities: some are over 1")
    return row


def _seen(row: RawOutput, spec: ModelSpec, *, conf: float) -> list[GoldenObject]:
    """The objects after suppression."""
    height_px, width_px = spec.input_height_px, spec.input_width_px
    canvas = np.zeros((height_px, width_px, 3), np.uint8)  # of which only the size matters
    ref = FrameRef(stream_id="golden", seq=0)
    frame = Frame(rgb=canvas, source_width_px=width_px, source_height_px=height_px, ref=ref)
    fitted = fit(frame, width_px=width_px, height_px=height_px)
    found = detections([row], fitted, spec, thresholds=Thresholds(conf=conf))
    return _objects(Candidates(found.xyxy, found.score, found.label), spec)


def _compare(row: RawOutput, expected: Sequence[GoldenObject], spec: ModelSpec) -> None:
    """Raise a ModelError unless what is seen is what was expected, and the other way round.

    Of two cells that tie on one object either may win the suppression, so that a cell speaks for those it ties with.
    """
    cells = candidates(row, spec, min_score=CONF - 2 * MAX_SCORE_DIFFERENCE)
    right_bottom = np.array([spec.input_width_px, spec.input_height_px] * 2, np.float32)
    cells = cells._replace(xyxy_model=np.clip(cells.xyxy_model, 0, right_bottom))
    edge_px = MAX_EDGE_DIFFERENCE_PX * max(spec.input_width_px, spec.input_height_px) / 640 + _ROUNDING
    for wanted in expected:
        if not _is_among(wanted, cells, spec, edge_px=edge_px):
            raise ModelError(f"the model does not see {_words(wanted)}, as its golden outputs say")
    for seen in _seen(row, spec, conf=CONF + MAX_SCORE_DIFFERENCE):
        ties = _tied_with(seen, cells, spec)
        if not any(_is_among(wanted, ties, spec, edge_px=edge_px) for wanted in expected):
            raise ModelError(f"the model sees {_words(seen)}, and its golden outputs do not say so")


def _tied_with(seen: GoldenObject, cells: Candidates, spec: ModelSpec) -> Candidates:
    """The cells that describe the same object and whose score ties with the winner's, the winner among them."""
    is_near = np.abs(cells.score - seen.score) <= 2 * MAX_SCORE_DIFFERENCE
    is_same = cells.label == spec.labels.index(seen.label)
    overlaps = _iou(np.array(seen.xyxy), cells.xyxy_model) >= _MIN_TIE_IOU
    return Candidates(*(column[is_near & is_same & overlaps] for column in cells))


def _iou(box: NDArray[np.floating], others: Boxes) -> NDArray[np.floating]:
    """The overlap with each of them."""
    shared = areas(np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1))
    return np.asarray(shared / np.maximum(areas(box[None]) + areas(others) - shared, _ROUNDING))


def _objects(cells: Candidates, spec: ModelSpec) -> list[GoldenObject]:
    """The same as objects."""
    columns = zip(cells.xyxy_model.tolist(), cells.score.tolist(), cells.label.tolist(), strict=True)
    return [
        GoldenObject(label=spec.labels[label], score=score, xyxy=(box[0], box[1], box[2], box[3]))
        for box, score, label in columns
    ]


def _is_among(wanted: GoldenObject, cells: Candidates, spec: ModelSpec, *, edge_px: float) -> bool:
    """Whether one of the cells is that object, within the tolerances; a class that the model lacks is nowhere."""
    if wanted.label not in spec.labels:
        return False
    is_same = cells.label == spec.labels.index(wanted.label)
    is_near = np.abs(cells.score - wanted.score) <= MAX_SCORE_DIFFERENCE + _ROUNDING
    edges_px = np.abs(cells.xyxy_model - np.array(wanted.xyxy)).max(axis=1)
    return bool((is_same & is_near & (edges_px <= edge_px)).any())


def _words(found: GoldenObject) -> str:
    place = ", ".join(f"{edge:.0f}" for edge in found.xyxy)
    return f"{found.label} of score {found.score:.2f} at ({place})"
