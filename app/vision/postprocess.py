"""From the network's rows to the objects of one frame: decode, back to source pixels, merge the tiles, suppress."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes, Detections, Letterbox, ModelInput
from app.core.model import Head, ModelSpec
from app.core.ports import RawOutput
from app.vision.heads import candidates
from app.vision.letterbox import undo
from app.vision.nms import areas, suppress

_CUT_WITHIN_PX = 2.0
"""A box that ends this close (model pixels) to a tile's inner edge is taken for a part of something larger."""
_PART_OF = 0.7
"""Share of a cut box inside a larger one of its class from which on it is the same object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What counts as an object where the query does not say: `conf` and `iou` in [0, 1]; scores must lie over `conf`.

    The values are Ultralytics' own for prediction.
    """

    conf: float = 0.25
    iou: float = 0.7
    is_class_aware: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.conf <= 1 and 0 <= self.iou <= 1):
            raise ValueError("conf and iou must lie in [0, 1]")


@dataclass(frozen=True, slots=True)
class _Found:
    """Boxes of one frame in source pixels, the canvas each was seen on, and whether that canvas's edge cuts it."""

    xyxy: Boxes
    score: NDArray[np.float32]
    label: NDArray[np.int32]
    canvas: NDArray[np.intp]
    is_cut: NDArray[np.bool_]

    def where(self, keep: NDArray[np.bool_]) -> "_Found":
        """Return only the rows that are true in `keep`."""
        return _Found(self.xyxy[keep], self.score[keep], self.label[keep], self.canvas[keep], self.is_cut[keep])


def detections(
    raw_rows: Sequence[RawOutput] | RawOutput, model_input: ModelInput, spec: ModelSpec, *, thresholds: Thresholds
) -> Detections:
    """Return the objects of one frame, best first; `raw_rows[i]` is the network's row for `model_input.canvases[i]`.

    Boxes without area in the looked-at region are left out. An end-to-end model on one canvas is not suppressed again.
    """
    query = model_input.query
    conf = thresholds.conf if query.conf is None else query.conf
    max_iou = thresholds.iou if query.iou is None else query.iou
    found = _look(raw_rows, model_input, spec, conf=conf)
    if len(model_input.canvases) > 1:
        found = found.where(~_parts(found))
    elif spec.head is Head.END_TO_END:
        max_iou = 1.0
    kept = suppress(
        found.xyxy, found.score, label=found.label, max_iou=max_iou, is_class_aware=thresholds.is_class_aware
    )
    return Detections(
        xyxy=found.xyxy[kept.rows],
        score=found.score[kept.rows],
        label=found.label[kept.rows],
        source_width_px=model_input.source_width_px,
        source_height_px=model_input.source_height_px,
        ref=model_input.ref,
        is_truncated=kept.is_truncated,
        route=model_input.route,
        timings=model_input.timings,
    )


def _look(
    raw_rows: Sequence[RawOutput] | RawOutput, model_input: ModelInput, spec: ModelSpec, *, conf: float
) -> _Found:
    """Return everything over `conf` on every canvas, of the classes asked for, with an area."""
    wanted = _wanted(model_input, spec)
    whole = model_input.letterboxes[0]
    per_canvas = []
    for index, (row, letterbox) in enumerate(zip(raw_rows, model_input.letterboxes, strict=True)):
        seen = candidates(row, spec, min_score=conf)
        xyxy = undo(seen.xyxy_model, letterbox)
        canvas = np.full(len(xyxy), index, dtype=np.intp)
        found = _Found(xyxy, seen.score, seen.label, canvas, _is_cut(xyxy, letterbox, whole=whole))
        keep = areas(xyxy) > 0
        per_canvas.append(found.where(keep if wanted is None else keep & np.isin(seen.label, wanted)))
    if len(per_canvas) == 1:
        return per_canvas[0]
    return _Found(
        np.concatenate([found.xyxy for found in per_canvas]),
        np.concatenate([found.score for found in per_canvas]),
        np.concatenate([found.label for found in per_canvas]),
        np.concatenate([found.canvas for found in per_canvas]),
        np.concatenate([found.is_cut for found in per_canvas]),
    )


def _wanted(model_input: ModelInput, spec: ModelSpec) -> list[int] | None:
    """Return the numbers of the classes asked for, None for all; a name that the model lacks matches nothing."""
    classes = model_input.query.classes
    if classes is None:
        return None
    return [number for number, name in enumerate(spec.labels) if name in classes]


def _is_cut(xyxy: Boxes, letterbox: Letterbox, *, whole: Letterbox) -> NDArray[np.bool_]:
    """Return which boxes end at an edge of their tile that is not an edge of the whole view."""
    low, high = _corners(letterbox)
    whole_low, whole_high = _corners(whole)
    near = _CUT_WITHIN_PX / np.array([letterbox.scale_x, letterbox.scale_y])
    at_low = (xyxy[:, :2] < low + near) & (low > whole_low + near)
    at_high = (xyxy[:, 2:] > high - near) & (high < whole_high - near)
    return np.asarray((at_low | at_high).any(axis=1))


def _corners(letterbox: Letterbox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the top left and bottom right corners of the letterbox's rectangle."""
    low = np.array([letterbox.offset_x_px, letterbox.offset_y_px])
    return low, low + np.array([letterbox.width_px, letterbox.height_px])


def _parts(found: _Found) -> NDArray[np.bool_]:
    """Return which boxes are parts, cut off by a tile's edge, of a larger box of their class on another canvas."""
    is_part = np.zeros(len(found.xyxy), dtype=bool)
    area = areas(found.xyxy)
    for row in np.flatnonzero(found.is_cut):
        box = found.xyxy[row]
        shared = np.minimum(found.xyxy[:, 2:], box[2:]) - np.maximum(found.xyxy[:, :2], box[:2])
        inside = np.maximum(shared, 0).prod(axis=1) >= _PART_OF * area[row]
        larger = (area > area[row]) & (found.canvas != found.canvas[row]) & (found.label == found.label[row])
        is_part[row] = bool((inside & larger).any())
    return is_part
