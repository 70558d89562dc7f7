"""Profiles are clipped to the model, and a batch goes to one that holds all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ModelError
from engines.profiles import DEFAULTS, SIZES, WIDE, BatchShape, batches_for, clipped, profile_for


def square(batch: int, side_px: int) -> BatchShape:
    return BatchShape(batch=batch, height_px=side_px, width_px=side_px)


def test_the_defaults_are_those_of_the_mission() -> None:
    assert (WIDE.smallest, WIDE.best, WIDE.largest) == (square(1, 320), square(4, 640), square(8, 1280))
    assert [profile.largest.height_px for profile in SIZES] == [512, 768, 1024]
    assert len(DEFAULTS) == 4


def test_a_model_of_free_sizes_keeps_all_profiles() -> None:
    assert tuple(clipped(DEFAULTS, batch=None, height_px=None, width_px=None)) == DEFAULTS


@given(batch=st.none() | st.integers(1, 16), height_px=st.integers(32, 2048), width_px=st.integers(32, 2048))
def test_a_fixed_size_leaves_one_profile_of_that_size(batch: int | None, height_px: int, width_px: int) -> None:
    (profile,) = clipped(DEFAULTS, batch=batch, height_px=height_px, width_px=width_px)
    shapes = (profile.smallest, profile.best, profile.largest)
    assert {(shape.height_px, shape.width_px) for shape in shapes} == {(height_px, width_px)}
    assert [shape.batch for shape in shapes] == ([1, 4, 8] if batch is None else [batch] * 3)


@given(batch=st.integers(1, 9), height_px=st.integers(300, 1300), width_px=st.integers(300, 1300))
def test_a_batch_never_straddles(batch: int, height_px: int, width_px: int) -> None:
    shape = BatchShape(batch=batch, height_px=height_px, width_px=width_px)
    is_within = batch <= 8 and min(height_px, width_px) >= 320 and max(height_px, width_px) <= 1280
    try:
        found = DEFAULTS[profile_for(DEFAULTS, shape)]
    except ModelError:
        assert not is_within
    else:
        assert is_within
        assert found.takes(shape)


@pytest.mark.parametrize(("side_px", "index"), [(512, 1), (768, 2), (1024, 3), (640, 0), (320, 0), (1280, 0)])
def test_the_narrowest_profile_is_taken(side_px: int, index: int) -> None:
    assert profile_for(DEFAULTS, square(4, side_px)) == index


def test_batches_are_powers_of_two_and_the_largest() -> None:
    assert batches_for(DEFAULTS, height_px=640, width_px=640) == (1, 2, 4, 8)
    static = clipped(DEFAULTS, batch=6, height_px=64, width_px=64)
    assert batches_for(static, height_px=64, width_px=64) == (6,)
    assert batches_for(DEFAULTS, height_px=100, width_px=100) == ()
