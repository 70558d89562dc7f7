"""How far two models agree: the average precision of one, the other's answers being the truth.

Source: COCO detection evaluation (pycocotools `COCOeval`), all sizes of boxes, no limit of detections a frame.
"""

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes, Detections
from app.vision.nms import areas

THRESHOLDS: Final = np.linspace(0.50, 0.95, 10)
"""IoU from which on two boxes are the same one; each has an average precision of its own."""
RECALLS: Final = np.linspace(0.0, 1.0, 101)
"""Where precision is read off."""


class _Class:
    """What was seen of one class: boxes of the truth, and of the answer scores and matches per threshold."""

    __slots__ = ("matched", "score", "truths")

    def __init__(self) -> None:
        self.truths = 0
        self.score: list[NDArray[np.float32]] = []
        self.matched: list[NDArray[np.bool_]] = []

    @property
    def answers(self) -> int:
        return sum(map(len, self.score))


class Agreement:
    """Frames that two models have answered, and how far the second found what the first did.

    A box of the answer costs 14 bytes until `clear`, pictures and boxes themselves are not kept.
    """

    def __init__(self) -> None:
        self._classes: defaultdict[int, _Class] = defaultdict(_Class)
        self.frames = 0

    def add(self, truth: Detections, answer: Detections) -> None:
        """Count one frame. Classes are compared by their numbers, so both models must have the same labels."""
        self.frames += 1
        for label in np.union1d(truth.label, answer.label).tolist():
            seen = self._classes[label]
            is_true, is_answer = truth.label == label, answer.label == label
            seen.truths += int(is_true.sum())
            if is_answer.any():
                order = np.argsort(-answer.score[is_answer], kind="stable")
                seen.score.append(answer.score[is_answer][order])
                seen.matched.append(_matches(answer.xyxy[is_answer][order], truth.xyxy[is_true]))

    def mean_ap(self, *, min_boxes: int = 1) -> float | None:
        """The mean over classes and thresholds, in [0, 1]; None while no class has `min_boxes` boxes on either side.

        A class of which only the answer has boxes counts as 0: COCO leaves it out, and would not see a model that
        makes up things of a new kind. Classes with fewer boxes on both sides are left out.
        """
        counted = [seen for seen in self._classes.values() if max(seen.truths, seen.answers) >= min_boxes]
        if not counted:
            return None
        return float(np.mean([_average_precision(seen) for seen in counted]))

    def clear(self) -> None:
        """Begin anew."""
        self._classes.clear()
        self.frames = 0


def _matches(answer: Boxes, truth: Boxes) -> NDArray[np.bool_]:
    """`(n, 10)`: which answers, best first, hit a box of the truth at each threshold; each box is hit once.

    An answer takes the free box that it overlaps most; of equals the last, as COCO does.
    """
    iou = _iou(answer, truth)
    matched = np.zeros((len(answer), len(THRESHOLDS)), dtype=np.bool_)
    if iou.size == 0:
        return matched
    is_free = np.ones((len(THRESHOLDS), len(truth)), dtype=np.bool_)
    rows = np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0])
    last = len(truth) - 1
    for row in rows.tolist():
        open_iou = np.where(is_free, iou[row], -1.0)
        best = last - open_iou[:, ::-1].argmax(axis=1)
        hits = np.flatnonzero(open_iou[_EACH, best] >= THRESHOLDS)
        matched[row, hits] = True
        is_free[hits, best[hits]] = False
    return matched


_EACH: Final = np.arange(len(THRESHOLDS))


def _iou(answer: Boxes, truth: Boxes) -> NDArray[np.float64]:
    """`(n, m)`; a box without area overlaps nothing."""
    one, other = answer.astype(np.float64), truth.astype(np.float64)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = areas(one)[:, None] + areas(other)[None, :] - shared
    return np.asarray(shared / np.where(union > 0, union, 1.0))


def _average_precision(seen: _Class) -> float:
    """The mean over the thresholds of the precision at 101 recalls, each the best that a higher recall still has."""
    if seen.truths == 0 or not seen.score:
        return 0.0
    order = np.argsort(-np.concatenate(seen.score), kind="stable")
    hits = np.cumsum(np.concatenate(seen.matched)[order], axis=0)  # (n, 10)
    precision = hits / np.arange(1, len(hits) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = hits / seen.truths
    found = [
        np.append(envelope[:, each], 0.0)[np.searchsorted(recall[:, each], RECALLS, side="left")] for each in _EACH
    ]
    return float(np.mean(found))
