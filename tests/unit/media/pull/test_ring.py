import os
from collections.abc import Iterator

import numpy as np
import pytest

from app.media.pull.ring import FrameRing
from tests.builders import make_rgb


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    made = FrameRing.create(slot_bytes=64 * 48 * 3)
    yield made
    made.close()


def test_a_picture_comes_out_as_it_went_in_whatever_lies_in_the_other_slot(ring: FrameRing) -> None:
    first, second = make_rgb(seed=1), make_rgb(seed=2)
    ring.write(0, first)
    ring.write(1, second[:, ::2])
    assert np.array_equal(ring.read(0, width_px=64, height_px=48), first)
    assert np.array_equal(ring.read(1, width_px=32, height_px=48), second[:, ::2])


def test_what_comes_out_is_a_copy_that_nobody_can_write_to(ring: FrameRing) -> None:
    ring.write(0, make_rgb(seed=1))
    rgb = ring.read(0, width_px=64, height_px=48)
    ring.write(0, make_rgb(seed=2))
    assert np.array_equal(rgb, make_rgb(seed=1))
    assert not rgb.flags.writeable


@pytest.mark.parametrize(("slot", "width_px", "height_px"), [(2, 64, 48), (-1, 64, 48), (0, 65, 48), (0, 0, 48)])
def test_a_picture_that_cannot_lie_there_is_refused(ring: FrameRing, slot: int, width_px: int, height_px: int) -> None:
    with pytest.raises(ValueError, match="no picture"):
        ring.read(slot, width_px=width_px, height_px=height_px)


def test_a_picture_too_large_for_its_slot_is_refused(ring: FrameRing) -> None:
    with pytest.raises(ValueError, match="fit"):
        ring.write(0, make_rgb(width_px=65))


def test_a_ring_cut_short_by_the_other_process_is_an_error_and_no_crash(ring: FrameRing) -> None:
    os.ftruncate(ring.descriptor, 4096)
    with pytest.raises(ValueError, match="cut"):
        ring.read(0, width_px=64, height_px=48)


def test_the_count_of_frames_is_seen_through_the_same_memory(ring: FrameRing) -> None:
    other = FrameRing(os.dup(ring.descriptor), slot_bytes=ring.slot_bytes)
    assert ring.taken_in == 0
    other.taken_in = 70_000
    other.close()
    assert ring.taken_in == 70_000
