"""Many objects at one place along x: the search looks along y as well, and finds the same."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.tracking.overlap import _MANY, overlaps

Array = NDArray[np.float64]


def scattered(n: int, *, across_px: float, down_px: float, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0, 1, (2, n)) * [[across_px], [down_px]]
    return np.concatenate((middle, rng.uniform(10, 60, (2, n))))


def measured(boxes: Array, split: int) -> Array:
    """IoU of every pair, the long way."""
    low, high = boxes[:2] - boxes[2:] / 2, boxes[:2] + boxes[2:] / 2
    shared = np.minimum(high[:, :split, None], high[:, None, split:]) - np.maximum(
        low[:, :split, None], low[:, None, split:]
    )
    area = shared.clip(0).prod(axis=0)
    size = boxes[2] * boxes[3]
    return np.asarray(area / (size[:split, None] + size[None, split:] - area))


@pytest.mark.parametrize(("across_px", "down_px"), [(30, 4000), (4000, 30), (300, 300), (0, 0)], ids=str)
@pytest.mark.parametrize("min_iou", [0.01, 0.3, 0.9])
def test_every_pair_that_overlaps_enough_is_found_with_its_iou(
    across_px: float, down_px: float, min_iou: float
) -> None:
    for seed in range(5):
        boxes = scattered(150, across_px=across_px, down_px=down_px, seed=seed)
        edges = overlaps(boxes, split=70, min_iou=min_iou)
        wanted = measured(boxes, 70)
        found = np.zeros(wanted.shape)
        found[edges.ends[0], edges.ends[1] - 70] = edges.weight
        is_enough = wanted >= min_iou + 1e-9
        assert np.allclose(found[is_enough], wanted[is_enough])
        assert np.all(found[~is_enough] < min_iou + 1e-9)
        assert np.array_equal(np.lexsort(edges.ends[::-1]), np.arange(edges.weight.size))


def test_a_column_of_objects_does_not_measure_every_pair() -> None:
    boxes = scattered(200, across_px=30, down_px=40_000, seed=0)
    assert overlaps(boxes, split=100, min_iou=0.3).weight.size < _MANY * 200 < 100 * 100


def test_boxes_far_from_the_picture_are_no_pairs_of_positive_worth() -> None:
    """Both gaps are below nothing, and their product is not an area."""
    boxes = np.array([[0.0, 10.0], [0.0, 1000.0], [20.0, 20.0], [20.0, 20.0]])
    assert overlaps(boxes, split=1, min_iou=0.3).weight.tolist() in ([], [0.0])


def test_numbers_beyond_single_precision_lose_no_pair() -> None:
    boxes = np.array([[1e300, 1e300, 5.0, 5.0], [1e300, 1e300, 5.0, 5.0], [2.0] * 4, [2.0] * 4])
    with np.errstate(over="ignore"):
        edges = overlaps(boxes[:, [0, 2, 1, 3]], split=2, min_iou=0.3)
    assert {(0, 2), (1, 3)} <= set(zip(*edges.ends.tolist(), strict=True))
