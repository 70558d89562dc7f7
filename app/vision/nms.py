"""Non-maximum suppression: of boxes that overlap too much, the best stays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes

MAX_OBJECTS = 200
"""Objects per frame that the event contract allows."""
MAX_CANDIDATES = 30_000
"""Only the best so many are looked at, as in Ultralytics: bounds the time of a frame with thresholds at zero."""
_BLOCK = 256
"""Candidates compared with each other at once: 256 x 256 doubles stay in the L2 cache."""


class Kept(NamedTuple):
    """Row numbers of the boxes that stay, best first, and whether more than the limit would have stayed."""

    rows: NDArray[np.intp]
    is_truncated: bool


def suppress(
    xyxy: Boxes,
    score: NDArray[np.float32],
    *,
    label: NDArray[np.int32],
    max_iou: float,
    is_class_aware: bool = True,
    limit: int = MAX_OBJECTS,
) -> Kept:
    """Return which boxes stay: greedy by score, equal scores in input order.

    A box goes if a better one (of its class, if class-aware) overlaps it by an IoU over `max_iou`. Rows that are not
    finite go first. Boxes without area overlap nothing and stay.
    """
    order = _best_first(xyxy, score)
    boxes = xyxy[order].astype(np.float64)  # doubles, so that products of the largest floats stay finite
    kinds = label[order] if is_class_aware else np.zeros(len(order), dtype=np.int32)
    kept = np.empty(limit + 1, dtype=np.intp)
    count = 0
    for start in range(0, len(order), _BLOCK):
        block = slice(start, start + _BLOCK)
        earlier = kept[:count]
        is_gone = _overlaps(boxes[block], kinds[block], boxes[earlier], kinds[earlier], max_iou=max_iou)
        is_alive = np.logical_not(is_gone.any(axis=1))
        allows = np.logical_not(_overlaps(boxes[block], kinds[block], boxes[block], kinds[block], max_iou=max_iou))
        for index in range(len(is_alive)):
            if is_alive[index]:
                kept[count] = start + index
                count += 1
                if count > limit:
                    return Kept(order[kept[:limit]], is_truncated=True)
                np.logical_and(is_alive, allows[index], out=is_alive)
    return Kept(order[kept[:count]], is_truncated=False)


def _best_first(xyxy: Boxes, score: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the finite rows by falling score, at most MAX_CANDIDATES of them."""
    finite = np.flatnonzero(np.isfinite(score) & np.isfinite(xyxy).all(axis=1))
    return finite[np.argsort(-score[finite], kind="stable")][:MAX_CANDIDATES]


def _overlaps(
    boxes: NDArray[np.float64],
    kinds: NDArray[np.int32],
    others: NDArray[np.float64],
    other_kinds: NDArray[np.int32],
    *,
    max_iou: float,
) -> NDArray[np.bool_]:
    """Return `(n, m)`: which pairs are of one kind and overlap by more than `max_iou`."""
    shared = np.minimum(boxes[:, None, 2], others[None, :, 2])
    shared -= np.maximum(boxes[:, None, 0], others[None, :, 0])
    np.maximum(shared, 0, out=shared)
    height = np.minimum(boxes[:, None, 3], others[None, :, 3])
    height -= np.maximum(boxes[:, None, 1], others[None, :, 1])
    np.maximum(height, 0, out=height)
    shared *= height
    union = areas(boxes)[:, None] + areas(others)[None, :] - shared
    return np.asarray((shared > max_iou * union) & (kinds[:, None] == other_kinds[None, :]))


def areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return each box's area; zero where it is inside out."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
