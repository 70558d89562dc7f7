"""Whether two sides found the same: the share of boxes of each that the other has as well."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAME_IOU: Final = 0.7
"""Decoders and resizers differ by a pixel or two of the source, and a small box shows it."""


def agreement(
    mine: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    *,
    my_labels: Sequence[int],
    their_labels: Sequence[int],
) -> float:
    """2 x the matched pairs over all boxes of both, in [0, 1]; a pair has one label and an IoU over `SAME_IOU`.

    Boxes are x1 y1 x2 y2 in source pixels. Two empty answers agree; each box is matched once, best overlaps first.
    """
    if not mine and not theirs:
        return 1.0
    if not mine or not theirs:
        return 0.0
    iou = overlaps(np.asarray(mine, np.float64), np.asarray(theirs, np.float64))
    iou[np.asarray(my_labels)[:, None] != np.asarray(their_labels)[None, :]] = 0.0
    pairs = 0
    while iou.max() >= SAME_IOU:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        iou[row, :] = iou[:, column] = 0.0
        pairs += 1
    return 2 * pairs / (len(mine) + len(theirs))


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of each of the first with each of the second, `(n, m)`."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
