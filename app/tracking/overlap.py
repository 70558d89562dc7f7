"""Which boxes overlap, and by how much, without computing the pairs that do not."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

_SIDES = np.array([1.0, -1.0])[:, None]


def overlaps(boxes: Array, others: Array, *, min_iou: float) -> tuple[Indices, Indices, Array]:
    """The pairs of boxes that overlap well: index into `boxes` `(4, n)`, into `others` `(4, m)`, and their IoU.

    Boxes are columns of centre x, centre y, width, height, both > 0. Every pair with an IoU of at least `min_iou` is
    among them, ordered by the first index, then the second; some below may be, and none that shares no area.
    """
    near = _near(boxes, others, min_share=min_iou)
    # Two-dimensional nonzero takes eight times as long: 20 us instead of 2.5 at 105 x 110.
    row, col = np.divmod(near.ravel().nonzero()[0], max(1, others.shape[1]))
    mine, theirs = boxes.take(row, axis=1), others.take(col, axis=1)
    size, other_size = mine[2:], theirs[2:]
    # Along an axis, two spans share half the sum of their lengths less the distance of their middles, and at most
    # the shorter of them.
    shared = size + other_size
    shared *= 0.5
    shared -= np.abs(mine[:2] - theirs[:2])
    np.minimum(shared, size, out=shared)
    np.minimum(shared, other_size, out=shared)
    area = shared[0] * shared[1]
    union = size[0] * size[1]
    union += other_size[0] * other_size[1]
    union -= area
    return row, col, area / union


def _near(boxes: Array, others: Array, *, min_share: float) -> NDArray[np.bool_]:
    """Whether each pair `(n, m)` shares along both axes at least `min_share` of the mean of their lengths.

    An IoU of that much needs it. Single precision: twice as many fit a register.
    """
    reach = (0.5 - 0.5 * min_share) * (1 + 1e-6)
    sides = np.empty((2, 2, boxes.shape[1]), np.float32)
    np.subtract(boxes[:2, None] * _SIDES, boxes[2:, None] * reach, out=sides)
    other_sides = np.empty((2, 2, others.shape[1]), np.float32)
    np.add(others[:2, None] * _SIDES, others[2:, None] * reach, out=other_sides)
    near: NDArray[np.bool_] = np.logical_and.reduce(
        (sides[..., None] < other_sides[..., None, :]).reshape(4, boxes.shape[1], -1)
    )
    return near
