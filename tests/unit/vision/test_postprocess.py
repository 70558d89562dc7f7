"""From rows to the objects of a frame."""

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.frame import ModelInput
from app.core.model import Head, ModelSpec
from app.core.query import Query
from app.vision.letterbox import fit
from app.vision.postprocess import Thresholds, detections
from tests.builders import make_frame, make_input, make_ref, make_spec

SPEC = make_spec(head=Head.END_TO_END)
YOLOV8 = make_spec(head=Head.YOLOV8)
Object: TypeAlias = tuple[float, float, float, float, float, int]


def row_of(*objects: Object):
    """An end-to-end row: `(x1, y1, x2, y2, score, label)` each, the rest zero."""
    row = np.zeros((10, 6), np.float32)
    for place, values in zip(row, objects, strict=False):
        place[:] = values
    return row


def yolov8_row_of(*objects: Object):
    row = np.zeros((6, 84), np.float32)
    for column, (x1, y1, x2, y2, score, label) in enumerate(objects):
        row[:4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        row[4 + label, column] = score
    return row


def run(
    row: NDArray[np.float32],
    *,
    query: Query | None = None,
    spec: ModelSpec = SPEC,
    thresholds: Thresholds | None = None,
):
    return detections([row], make_input(query=query), spec, thresholds=thresholds or Thresholds())


def test_objects_come_best_first_in_source_pixels() -> None:
    frame = make_frame(rgb=np.zeros((40, 80, 3), np.uint8), source=(160, 80), ref=make_ref(seq=3))
    found = detections(
        [row_of((0, 16, 32, 48, 0.5, 0), (32, 16, 64, 32, 0.75, 1))],
        fit(frame, width_px=64, height_px=64),
        SPEC,
        thresholds=Thresholds(),
    )
    np.testing.assert_allclose(found.xyxy, [[80, 0, 160, 40], [0, 0, 80, 80]])
    assert (found.score.tolist(), found.label.tolist(), found.ref.seq) == ([0.75, 0.5], [1, 0], 3)
    assert (found.source_width_px, found.source_height_px, found.is_truncated) == (160, 80, False)


def test_nothing_found_is_an_empty_answer() -> None:
    found = run(row_of())
    assert (found.xyxy.shape, found.score.shape, found.label.shape) == ((0, 4), (0,), (0,))


def test_the_query_overrides_the_default_thresholds() -> None:
    overlapping = yolov8_row_of((0, 0, 20, 20, 0.9, 0), (5, 0, 25, 20, 0.4, 0))
    assert run(overlapping, spec=YOLOV8).score.tolist() == pytest.approx([0.9, 0.4])
    assert run(overlapping, spec=YOLOV8, query=Query(conf=0.5)).score.tolist() == pytest.approx([0.9])
    assert run(overlapping, spec=YOLOV8, query=Query(iou=0.5)).score.tolist() == pytest.approx([0.9])
    assert run(overlapping, spec=YOLOV8, thresholds=Thresholds(iou=0.5)).score.tolist() == pytest.approx([0.9])
    assert run(overlapping, spec=YOLOV8, thresholds=Thresholds(conf=0.95)).score.tolist() == []


def test_a_threshold_of_zero_is_a_threshold() -> None:
    assert run(row_of((0, 0, 9, 9, 0.01, 0)), query=Query(conf=0.0)).score.tolist() == pytest.approx([0.01])


TWO_CLASSES = row_of((0, 0, 9, 9, 0.9, 0), (20, 20, 29, 29, 0.8, 1))


@pytest.mark.parametrize(
    ("classes", "expected"), [(["car"], [1]), (["car", "person"], [0, 1]), (["unicorn"], []), ([], [])]
)
def test_only_the_classes_asked_for_stay(classes: list[str], expected: list[int]) -> None:
    assert run(TWO_CLASSES, query=Query(classes=frozenset(classes))).label.tolist() == expected


def test_without_a_choice_every_class_stays() -> None:
    assert run(TWO_CLASSES).label.tolist() == [0, 1]


def test_overlapping_classes_live_side_by_side_unless_suppression_is_agnostic() -> None:
    row = yolov8_row_of((0, 0, 20, 20, 0.9, 0), (0, 0, 20, 20, 0.8, 1))
    assert run(row, spec=YOLOV8).label.tolist() == [0, 1]
    assert run(row, spec=YOLOV8, thresholds=Thresholds(is_class_aware=False)).label.tolist() == [0]


def test_an_end_to_end_model_is_not_suppressed_again() -> None:
    row = row_of((0, 0, 20, 20, 0.9, 0), (0, 0, 20, 20, 0.8, 0))
    assert len(run(row, query=Query(iou=0.1)).score) == 2


def test_boxes_in_the_padding_and_broken_boxes_are_no_objects() -> None:
    frame = make_frame(rgb=np.zeros((32, 64, 3), np.uint8))
    row = row_of((0, 0, 64, 10, 0.9, 0), (np.nan, 0, 9, 40, 0.9, 0), (5, 20, 3, 40, 0.9, 0), (0, 20, 9, 40, np.inf, 0))
    found = detections([row], fit(frame, width_px=64, height_px=64), SPEC, thresholds=Thresholds())
    assert found.score.shape == (0,)


def test_more_than_two_hundred_objects_are_cut_and_told() -> None:
    side = np.arange(15, dtype=np.float32) * 4
    x, y = (values.ravel() for values in np.meshgrid(side, side))
    row = np.stack([x, y, x + 3, y + 3, np.full(225, 0.9), np.zeros(225)], axis=1).astype(np.float32)
    found = run(row)
    assert (len(found.score), found.is_truncated) == (200, True)


def tiled_input():
    """A 360 x 360 picture as the whole view and four tiles of 200 px that share 40 px."""
    frame = make_frame(rgb=np.zeros((360, 360, 3), np.uint8), query=Query(tile=2))
    return fit(frame, width_px=200, height_px=200)


def on_canvas(model_input: ModelInput, canvas: int, *objects: Object):
    """Rows with the objects, given in source pixels, on one canvas and nothing on the others."""
    rows = [row_of() for _ in model_input.canvases]
    add(rows, model_input, canvas, *objects)
    return rows


def add(rows: list[NDArray[np.float32]], model_input: ModelInput, canvas: int, *objects: Object):
    box = model_input.letterboxes[canvas]
    offset, pad = np.array([box.offset_x_px, box.offset_y_px] * 2), np.array([box.pad_x_px, box.pad_y_px] * 2)
    scaled = [((np.array(item[:4]) - offset) * box.scale_x + pad).clip(0, 200).tolist() for item in objects]
    rows[canvas] = row_of(*((*xyxy, *item[4:]) for xyxy, item in zip(scaled, objects, strict=True)))


def test_an_object_that_two_tiles_and_the_whole_view_see_is_one_object() -> None:
    model_input = tiled_input()
    small = (165, 50, 195, 80)
    rows = on_canvas(model_input, 0, (*small, 0.5, 0))
    add(rows, model_input, 1, (*small, 0.9, 0))
    add(rows, model_input, 2, (*small, 0.8, 0))
    found = detections(rows, model_input, SPEC, thresholds=Thresholds())
    np.testing.assert_allclose(found.xyxy, [small], atol=0.01)
    assert found.score.tolist() == pytest.approx([0.9])


def test_parts_that_tiles_cut_off_give_way_to_the_whole() -> None:
    model_input = tiled_input()
    rows = on_canvas(model_input, 0, (100, 20, 300, 120, 0.6, 0))
    add(rows, model_input, 1, (100, 20, 200, 120, 0.9, 0))
    add(rows, model_input, 2, (160, 20, 300, 120, 0.9, 0))
    found = detections(rows, model_input, SPEC, thresholds=Thresholds())
    np.testing.assert_allclose(found.xyxy, [[100, 20, 300, 120]], atol=0.01)


def test_a_cut_part_without_a_whole_stays_and_so_does_another_class() -> None:
    model_input = tiled_input()
    rows = on_canvas(model_input, 0, (100, 20, 300, 120, 0.6, 1))
    add(rows, model_input, 1, (100, 20, 200, 120, 0.9, 0))
    found = detections(rows, model_input, SPEC, thresholds=Thresholds())
    assert found.label.tolist() == [0, 1]


def test_a_box_at_the_edge_of_the_picture_is_not_cut() -> None:
    model_input = tiled_input()
    rows = on_canvas(model_input, 0, (0, 0, 150, 150, 0.6, 0))
    add(rows, model_input, 1, (0, 0, 60, 60, 0.9, 0))
    found = detections(rows, model_input, SPEC, thresholds=Thresholds())
    assert len(found.score) == 2


def test_every_canvas_must_have_its_row() -> None:
    with pytest.raises(ValueError, match="zip"):
        detections([row_of(), row_of()], make_input(), SPEC, thresholds=Thresholds())


@pytest.mark.parametrize("wrong", [{"conf": 1.1}, {"iou": -0.1}, {"conf": float("nan")}])
def test_thresholds_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="conf and iou"):
        replace(Thresholds(), **wrong)
