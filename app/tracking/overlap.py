"""Which boxes overlap, and by how much, without computing the pairs that do not."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


def overlaps(xyxy: Array, others: Array) -> tuple[Indices, Indices, Array]:
    """All pairs of boxes that share an area: index into `xyxy` `(4, n)`, index into `others` `(4, m)`, IoU > 0.

    Boxes are columns of corners with a positive area. Ordered by the first index, then the second; empty inputs give
    no pairs.
    """
    # Compared in single precision, where twice as many fit a register: a pair that touches by less is no match anyway.
    left, top, right, bottom = xyxy.astype(np.float32)[:, :, None]
    other_left, other_top, other_right, other_bottom = others.astype(np.float32)
    is_near = left < other_right
    is_near &= right > other_left
    is_near &= top < other_bottom
    is_near &= bottom > other_top
    # Two-dimensional nonzero takes eight times as long, 20 us instead of 2.5 at 105 x 110.
    row, col = np.divmod(is_near.ravel().nonzero()[0], max(1, others.shape[1]))
    mine, theirs = xyxy.take(row, axis=1), others.take(col, axis=1)
    shared = np.minimum(mine[2:], theirs[2:])
    shared -= np.maximum(mine[:2], theirs[:2])
    area = np.maximum(shared[0], 0.0)
    area *= np.maximum(shared[1], 0.0)
    union = _area(xyxy).take(row)
    union += _area(others).take(col)
    union -= area
    return row, col, area / union


def _area(xyxy: Array) -> Array:
    width, height = xyxy[2:] - xyxy[:2]
    return width * height
