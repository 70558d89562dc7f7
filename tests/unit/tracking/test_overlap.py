import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from app.tracking.motion import centred
from app.tracking.overlap import overlaps

corners = npst.arrays(np.float64, st.tuples(st.integers(0, 8), st.just(4)), elements=st.integers(0, 60))


def make_boxes(raw: np.ndarray):
    low = np.minimum(raw[:, :2], raw[:, 2:])
    return np.concatenate([low, np.maximum(raw[:, :2], raw[:, 2:]) + 1], axis=1)


def dense_iou(xyxy: np.ndarray, others: np.ndarray):
    low = np.maximum(xyxy[:, None, :2], others[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area, other = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (xyxy, others))
    return shared / (area[:, None] + other[None] - shared)


@given(raw=corners, other=corners, min_iou=st.sampled_from([0.01, 0.2, 0.3, 0.5, 1.0]))
def test_every_pair_that_overlaps_enough_is_found_with_its_iou(raw: np.ndarray, other: np.ndarray, min_iou: float):
    xyxy, others = make_boxes(raw), make_boxes(other)
    (row, col), iou = overlaps(centred(np.concatenate([xyxy, others]).T), split=len(xyxy), min_iou=min_iou)
    dense = dense_iou(xyxy, others)
    assert dense[row, col - len(xyxy)] == pytest.approx(iou)
    is_found = np.zeros(dense.shape, bool)
    is_found[row, col - len(xyxy)] = True
    assert is_found[dense > min_iou * (1 + 1e-9)].all()
    assert (np.diff(row) >= 0).all()


def test_boxes_that_only_touch_do_not_overlap():
    boxes = centred(np.array([[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0]]).T)
    assert overlaps(boxes, split=1, min_iou=0.1).weight.size == 0
