"""Which boxes overlap, and by how much, without computing the pairs that do not."""

import numpy as np
from numpy.typing import NDArray

from app.tracking.assignment import Edges

_SLACK = 1 + 1e-6  # the search must not lose by rounding what the measure would keep


def overlaps(boxes: NDArray[np.float64], *, split: int, min_iou: float) -> Edges:
    """The pairs of one of the first `split` boxes and one of the others, worth their IoU.

    `boxes` `(4, n)` are columns of centre x, centre y, width, height, sizes > 0. Every pair with an IoU of at least
    `min_iou` is among them, ordered by the first box, then the second; some below may be.
    """
    count = max(1, boxes.shape[1] - split)
    near = _near(boxes, split=split, min_iou=min_iou).nonzero()[0]
    row = near // count
    col = near - (row * count - split)
    mine, theirs = boxes.take(row, axis=1), boxes.take(col, axis=1)
    # Two spans share half the sum of their lengths less the distance of their middles, at most the shorter of them.
    # Whole columns are computed though each line needs half: a call costs more than the numbers in it.
    shared = (mine + theirs)[2:]
    shared *= 0.5
    shared -= np.abs(mine - theirs)[:2]
    shared = np.minimum(shared, np.minimum(mine, theirs)[2:])
    area = shared[0] * shared[1]
    union = mine[2] * mine[3]
    union += theirs[2] * theirs[3]
    union -= area
    area /= union
    return Edges(np.array((row, col)), area)


def _near(boxes: NDArray[np.float64], *, split: int, min_iou: float) -> NDArray[np.bool_]:
    """Whether each pair is close enough along both axes for an IoU of `min_iou`, all pairs in one row.

    Of two spans with lengths a and b that share s, the IoU is at most s / (a + b - s), so s is at least
    (a + b) * min_iou / (1 + min_iou): spans shortened by this share still overlap. Spans [l, r] and [l', r'] do where
    (l - r') (r - l') < 0, a sum of four products: one small matrix product answers for all pairs.
    """
    half = boxes[2:] * min(0.5, (0.5 - min_iou / (1 + min_iou)) * _SLACK)
    spans = np.ones((2, 4, boxes.shape[1]))
    low = np.subtract(boxes[:2], half, out=spans[:, 1])
    high = np.add(boxes[:2], half, out=spans[:, 2])
    np.multiply(low, high, out=spans[:, 0])
    others = np.ones((2, 4, boxes.shape[1] - split))
    np.negative(spans[:, 1:3, split:], out=others[:, 1:3])
    others[:, 3] = spans[:, 0, split:]
    near = np.matmul(spans[:, :, :split].transpose(0, 2, 1), others) < 0
    # Flat, as nonzero of a matrix takes eight times as long: 20 us instead of 2.5 at 105 x 110.
    found: NDArray[np.bool_] = np.logical_and(near[0], near[1], out=near[0]).reshape(-1)
    return found
