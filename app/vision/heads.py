"""Tells the layouts of YOLO outputs apart, and reads boxes out of them."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes
from app.core.model import Head, ModelSpec
from app.core.ports import RawOutput

STRIDES = (8, 16, 32)
"""Source pixels per grid cell at the three levels of every YOLO served here."""


class Candidates(NamedTuple):
    """What one canvas may hold: `xyxy_model` `(n, 4)`, `score` `(n,)`, `label` `(n,)`; unsorted, not suppressed."""

    xyxy_model: Boxes
    score: NDArray[np.float32]
    label: NDArray[np.int32]


def candidates(row: RawOutput, spec: ModelSpec, *, min_score: float) -> Candidates:
    """Return the boxes of one output row that score over `min_score`; a NaN score is never over it.

    The score is looked at first, so that only the few rows that pass are transposed, decoded and classified.
    """
    match spec.head:
        case Head.YOLOV8:
            return _from_yolov8(row, min_score=min_score)
        case Head.YOLOV5:
            return _from_objectness(row, min_score=min_score)
        case Head.YOLOX:
            grid = _grid(spec.input_width_px, spec.input_height_px)
            return _from_objectness(row, min_score=min_score, grid=grid)
        case Head.END_TO_END:
            return _from_end_to_end(row, min_score=min_score, n_labels=len(spec.labels))


def cell_counts(width_px: int, height_px: int, *, strides: tuple[int, ...] = STRIDES) -> int:
    """Return how many grid cells all levels have together."""
    return sum((width_px // stride) * (height_px // stride) for stride in strides)


def _from_yolov8(row: RawOutput, *, min_score: float) -> Candidates:
    """Read `(4 + nc, N)`: cx cy w h, then class scores."""
    keep = np.flatnonzero(row[4:].max(axis=0) > min_score)
    columns = row[:, keep]
    return _best_class(columns[:4].T, columns[4:].T)


def _from_objectness(row: RawOutput, *, min_score: float, grid: NDArray[np.float32] | None = None) -> Candidates:
    """Read `(N, 5 + nc)`: cx cy w h, objectness, class scores; relative to its cell where a grid is given."""
    keep = np.flatnonzero(row[:, 4] > min_score)
    rows = row[keep]
    scores = rows[:, 5:] * rows[:, 4:5]
    is_over = scores.max(axis=1, initial=0.0) > min_score
    rows, scores, keep = rows[is_over], scores[is_over], keep[is_over]
    cxcywh = rows[:, :4]
    if grid is not None:
        cells = grid[keep]
        with np.errstate(over="ignore"):  # a size beyond float32 becomes infinite and is removed as such later
            sizes = np.exp(cxcywh[:, 2:]) * cells[:, 2:]
        cxcywh = np.concatenate([(cxcywh[:, :2] + cells[:, :2]) * cells[:, 2:], sizes], axis=1)
    return _best_class(cxcywh, scores)


def _from_end_to_end(row: RawOutput, *, min_score: float, n_labels: int) -> Candidates:
    """Read `(M, 6)`: x1 y1 x2 y2 score class; a class that the model does not have is noise and left out."""
    is_kept = (row[:, 4] > min_score) & (row[:, 5] >= 0) & (row[:, 5] < n_labels)
    rows = row[is_kept]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def _best_class(cxcywh: NDArray[np.float32], scores: NDArray[np.float32]) -> Candidates:
    """Return each row with its best class; of equal scores the lower class."""
    label = scores.argmax(axis=1) if scores.size else np.zeros(len(scores), dtype=np.intp)
    half = cxcywh[:, 2:] * np.float32(0.5)
    xyxy_model = np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1)
    score = scores[np.arange(len(scores)), label]
    return Candidates(xyxy_model, score, label.astype(np.int32))


@lru_cache(maxsize=16)
def _grid(width_px: int, height_px: int) -> NDArray[np.float32]:
    """Return `(N, 4)`: column and row of every cell, then its stride twice, in the order of the output.

    Source: YOLOX, `yolox/utils/demo_utils.py`, demo_postprocess.
    """
    levels = []
    for stride in STRIDES:
        y, x = np.mgrid[: height_px // stride, : width_px // stride]
        size = np.full(x.size, stride)
        levels.append(np.stack([x.ravel(), y.ravel(), size, size], axis=1))
    grid = np.concatenate(levels).astype(np.float32)
    grid.flags.writeable = False
    return grid
