"""Line crossings: who, which way, when."""

import numpy as np
import pytest

from load_tests.camfarm import Camera, Label, Line, Scene, crossings, truth_only

CAMERA = Camera(width_px=640, height_px=360, fps=10.0)
DOWN = Line(x1=0.5, y1=0.0, x2=0.5, y2=1.0)  # left of this line is the image's right half
UP = Line(x1=0.5, y1=1.0, x2=0.5, y2=0.0)


def test_turning_the_line_turns_every_direction() -> None:
    down = crossings(Scene(seed=7), CAMERA, DOWN, begin_s=0.0, end_s=30.0)
    up = crossings(Scene(seed=7), CAMERA, UP, begin_s=0.0, end_s=30.0)
    assert len(down) > 8
    assert [(one.identity, -one.direction) for one in down] == [(one.identity, one.direction) for one in up]
    np.testing.assert_allclose([one.at_s for one in down], [one.at_s for one in up], atol=1e-3)


def test_vehicles_of_the_near_lane_cross_to_the_right_and_boxes_agree() -> None:
    # Seen along UP, its right is the image's right.
    scene = Scene(seed=7)
    cars = [one for one in crossings(scene, CAMERA, UP, begin_s=0.0, end_s=40.0) if one.label >= Label.CAR]
    near = [one for one in cars if one.identity < 1_000_000]
    assert near
    assert {one.direction for one in near} == {1}
    assert {one.direction for one in cars if one.identity > 1_000_000} == {-1}


def test_walkers_cross_when_their_boxes_do() -> None:
    scene = Scene(seed=7)
    middles = {
        (identity, truth.seq): float(box[0] + box[2]) / 2 - 320
        for truth in truth_only(scene, CAMERA, frames=110)
        for identity, box in zip(truth.identity.tolist(), truth.xyxy, strict=True)
    }
    checked = 0
    for crossing in crossings(scene, CAMERA, UP, begin_s=0.6, end_s=10.2):
        if crossing.label in {Label.PERSON, Label.BICYCLE}:
            # A leg ahead moves the box's middle, so half a second before and after is asked.
            before = middles.get((crossing.identity, round((crossing.at_s - 0.5) * 10)), 0.0)
            after = middles.get((crossing.identity, round((crossing.at_s + 0.5) * 10)), 0.0)
            assert before * crossing.direction <= 0
            assert after * crossing.direction >= 0
            checked += bool(before and after)
    assert checked >= 3


def test_window_splits_without_loss_or_repeat() -> None:
    whole = crossings(Scene(seed=3), CAMERA, DOWN, begin_s=0.0, end_s=20.0)
    parts = [crossings(Scene(seed=3), CAMERA, DOWN, begin_s=at, end_s=at + 5.0) for at in (0.0, 5.0, 10.0, 15.0)]
    assert [one.identity for part in parts for one in part] == [one.identity for one in whole]


def test_crossing_beside_the_segment_does_not_count() -> None:
    sky = Line(x1=0.5, y1=0.0, x2=0.5, y2=0.05)
    assert crossings(Scene(seed=7), CAMERA, sky, begin_s=0.0, end_s=30.0) == []


def test_time_does_not_depend_on_size_or_rate() -> None:
    other = Camera(width_px=1920, height_px=1080, fps=7.0)
    one = crossings(Scene(seed=7), CAMERA, DOWN, begin_s=0.0, end_s=10.0)
    two = crossings(Scene(seed=7), other, DOWN, begin_s=0.0, end_s=10.0)
    assert [(each.identity, each.direction) for each in one] == [(each.identity, each.direction) for each in two]
    np.testing.assert_allclose([each.at_s for each in one], [each.at_s for each in two], atol=1e-5)


def test_line_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no length"):
        crossings(Scene(seed=7), CAMERA, Line(x1=0.5, y1=0.5, x2=0.5, y2=0.5), begin_s=0.0, end_s=1.0)
