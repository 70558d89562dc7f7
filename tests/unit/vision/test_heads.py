"""Every layout reads back the boxes that were written into it."""

import numpy as np
import pytest

from app.core.model import Head
from app.vision.heads import STRIDES, candidates, cell_counts
from tests.builders import make_spec

XYXY = np.array([[4, 6, 24, 30], [10, 0, 50, 60]], np.float32)
CXCYWH = np.array([[14, 18, 20, 24], [30, 30, 40, 60]], np.float32)
KINDS = np.array([[0.1, 0.8], [0.6, 0.2]], np.float32)
N_CELLS = cell_counts(64, 64)


def spec(head: Head):
    return make_spec(head=head, size_px=64)


def yolov8_row():
    row = np.zeros((6, N_CELLS), np.float32)
    row[:4, [5, 70]] = CXCYWH.T
    row[4:, [5, 70]] = KINDS.T
    return row


def yolov5_row():
    row = np.zeros((3 * N_CELLS, 7), np.float32)
    row[:, 5:] = 0.9  # classes without objectness are nothing
    row[[5, 200], :4], row[[5, 200], 4], row[[5, 200], 5:] = CXCYWH, 0.9, KINDS / 0.9
    return row


def yolox_row():
    """The same boxes relative to cell 5 (first level, column 5) and cell 70 (second level, column 2, row 1)."""
    row = np.zeros((N_CELLS, 7), np.float32)
    for at, cell, stride, box, kinds in ((5, (5, 0), 8, CXCYWH[0], KINDS[0]), (70, (2, 1), 16, CXCYWH[1], KINDS[1])):
        row[at, :2] = box[:2] / stride - cell
        row[at, 2:4] = np.log(box[2:] / stride)
        row[at, 4:] = 1.0, *kinds
    return row


def end_to_end_row():
    row = np.zeros((300, 6), np.float32)
    row[0], row[1] = (*XYXY[0], 0.8, 1), (*XYXY[1], 0.6, 0)
    return row


ROWS = {
    Head.YOLOV8: yolov8_row,
    Head.YOLOV5: yolov5_row,
    Head.YOLOX: yolox_row,
    Head.END_TO_END: end_to_end_row,
}


@pytest.mark.parametrize("head", Head)
def test_boxes_scores_and_labels_are_read(head: Head) -> None:
    found = candidates(ROWS[head](), spec(head), min_score=0.25)
    np.testing.assert_allclose(found.xyxy_model, XYXY, atol=1e-4)
    np.testing.assert_allclose(found.score, [0.8, 0.6], atol=1e-6)
    assert found.label.tolist() == [1, 0]
    assert (found.xyxy_model.dtype, found.score.dtype, found.label.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("head", Head)
def test_only_scores_over_the_threshold_pass(head: Head) -> None:
    assert candidates(ROWS[head](), spec(head), min_score=0.7).label.tolist() == [1]


@pytest.mark.parametrize("head", Head)
def test_nothing_found_is_an_empty_answer_of_the_right_shape(head: Head) -> None:
    found = candidates(ROWS[head](), spec(head), min_score=0.95)
    assert (found.xyxy_model.shape, found.score.shape, found.label.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize("head", Head)
def test_a_row_of_nan_holds_nothing(head: Head) -> None:
    found = candidates(np.full_like(ROWS[head](), np.nan), spec(head), min_score=0.0)
    assert found.score.shape == (0,)


@pytest.mark.parametrize("head", Head)
def test_the_row_is_not_written_to(head: Head) -> None:
    row = ROWS[head]()
    row.flags.writeable = False
    candidates(row, spec(head), min_score=0.1)


def test_classes_that_the_model_does_not_have_are_left_out() -> None:
    row = end_to_end_row()
    row[0, 5], row[1, 5] = 7, np.nan
    assert candidates(row, spec(Head.END_TO_END), min_score=0.25).score.shape == (0,)


def test_a_yolox_size_beyond_all_bounds_is_infinite_and_no_warning() -> None:
    row = yolox_row()
    row[5, 2] = 1000
    assert np.isinf(candidates(row, spec(Head.YOLOX), min_score=0.7).xyxy_model).any()


def test_equal_class_scores_go_to_the_first_class() -> None:
    row = yolov8_row()
    row[4:, 5] = 0.8
    assert candidates(row, spec(Head.YOLOV8), min_score=0.7).label.tolist() == [0]


def test_cells_are_counted_per_level_for_any_aspect() -> None:
    assert cell_counts(640, 640) == 8400
    assert cell_counts(640, 384) == sum((640 // stride) * (384 // stride) for stride in STRIDES)
