"""Steps before the letterbox: order, conditions, and what each does to a picture."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from app.vision.steps import Clahe, Grey, MaxSide, Step, When, run_steps
from tests.builders import make_frame, make_rgb

FLAT = (np.linspace(90, 110, 64)[None, :, None] * np.ones((64, 1, 3))).astype(np.uint8)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (When(attribute="width_px", op=">", value=63), True),
        (When(attribute="width_px", op=">", value=64), False),
        (When(attribute="width_px", op=">=", value=64), True),
        (When(attribute="height_px", op="<", value=49), True),
        (When(attribute="height_px", op="<=", value=47), False),
        (When(attribute="pixels", op="==", value=64 * 48), True),
        (When(attribute="pixels", op="!=", value=64 * 48), False),
    ],
)
def test_a_condition_compares_the_picture_at_hand(when: When, *, expected: bool) -> None:
    assert when.holds(make_frame()) is expected


def test_steps_run_in_order_and_a_later_condition_sees_the_earlier_result() -> None:
    wide = When(attribute="width_px", op=">", value=100)
    frame = make_frame(rgb=make_rgb(width_px=200, height_px=100))
    done = run_steps(frame, [MaxSide(px=80, when=wide), Grey(when=wide)])
    assert done.rgb.shape == (40, 80, 3)
    assert (done.rgb[..., 0] != done.rgb[..., 1]).any()


def test_no_steps_change_nothing() -> None:
    frame = make_frame()
    assert run_steps(frame, []) is frame


@pytest.mark.parametrize("step", [Clahe(), Grey(), MaxSide(px=20), MaxSide(px=20, filter="lanczos")])
def test_a_step_leaves_its_input_alone_and_keeps_the_source_size(step: Step) -> None:
    frame = make_frame(rgb=make_rgb(width_px=50, height_px=40), source=(500, 400))
    before = frame.rgb.copy()
    done = run_steps(frame, [step])
    np.testing.assert_array_equal(frame.rgb, before)
    assert (done.source_width_px, done.source_height_px, done.ref) == (500, 400, frame.ref)
    assert done.rgb.dtype == np.uint8
    assert not done.rgb.flags.writeable


def test_clahe_spreads_the_lightness_and_keeps_grey_grey() -> None:
    done = run_steps(make_frame(rgb=FLAT), [Clahe(clip_limit=4.0, tiles=2)])
    assert np.ptp(done.rgb) > 1.5 * np.ptp(FLAT)
    assert np.ptp(done.rgb.astype(int), axis=2).max() <= 3


def test_grey_is_the_luma_in_every_channel() -> None:
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[...] = (100, 150, 200)
    assert run_steps(make_frame(rgb=rgb), [Grey()]).rgb[0, 0].tolist() == [141, 141, 141]


@pytest.mark.parametrize("filter_name", ["area", "lanczos"])
@pytest.mark.parametrize(("size", "expected"), [((100, 50), (32, 16)), ((50, 100), (16, 32)), ((90, 1), (32, 1))])
def test_the_longer_side_shrinks_to_the_limit(
    filter_name: Literal["area", "lanczos"], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    frame = make_frame(rgb=make_rgb(width_px=size[0], height_px=size[1]))
    done = run_steps(frame, [MaxSide(px=32, filter=filter_name)])
    assert done.rgb.shape == (expected[1], expected[0], 3)


def test_a_small_picture_is_never_enlarged() -> None:
    frame = make_frame()
    assert run_steps(frame, [MaxSide(px=64)]) is frame


@pytest.mark.parametrize("filter_name", ["area", "lanczos"])
def test_a_fine_pattern_averages_out_instead_of_aliasing(filter_name: Literal["area", "lanczos"]) -> None:
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[:, ::2] = 255
    done = run_steps(make_frame(rgb=rgb), [MaxSide(px=90, filter=filter_name)])
    assert np.abs(done.rgb.astype(int) - 127).max() < 20


@pytest.mark.parametrize(
    ("step", "wrong"), [(Clahe(), {"clip_limit": 0}), (Clahe(), {"tiles": 0}), (MaxSide(px=1), {"px": 0})]
)
def test_values_that_make_no_sense_are_refused(step: Step, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(step, **wrong)
