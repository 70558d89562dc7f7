"""IDF1: how much of the truth keeps one identity, and how much of what was found belongs to it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

MIN_IOU = 0.5

Boxes = np.ndarray
Named = tuple[np.ndarray, np.ndarray]
"""One frame: boxes `(n, 4)` and whose they are `(n,)`."""


def pairwise_iou(xyxy: Boxes, others: Boxes) -> np.ndarray:
    """Overlap over union `(n, m)` of two sets of boxes."""
    xyxy, others = xyxy.astype(np.float64), others.astype(np.float64)
    low = np.maximum(xyxy[:, None, :2], others[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (xyxy, others))
    return np.asarray(shared / np.maximum(area[:, None] + other_area[None] - shared, 1e-9))


def idf1(truth: Sequence[Named], found: Sequence[Named]) -> float:
    """2 IDTP / (boxes of truth + boxes found), in [0, 1]; 1 where there is nothing to find and nothing was found.

    Each true identity is paired with at most one track for the whole sequence, so that most boxes agree.
    Source: Ristani et al., arXiv 1609.01775, section 3.
    """
    agreed: Counter[tuple[int, int]] = Counter()
    for (xyxy, identity), (other_xyxy, track_id) in zip(truth, found, strict=True):
        for row, column in np.argwhere(pairwise_iou(xyxy, other_xyxy) >= MIN_IOU).tolist():
            agreed[int(identity[row]), int(track_id[column])] += 1
    rows = {identity: row for row, identity in enumerate(sorted({identity for identity, _ in agreed}))}
    columns = {track_id: column for column, track_id in enumerate(sorted({track_id for _, track_id in agreed}))}
    table = np.zeros((len(rows), len(columns)))
    for (identity, track_id), frames in agreed.items():
        table[rows[identity], columns[track_id]] = frames
    boxes = sum(len(xyxy) for xyxy, _ in (*truth, *found))
    return float(2 * table[linear_sum_assignment(table, maximize=True)].sum() / boxes) if boxes else 1.0
