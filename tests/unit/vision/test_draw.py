"""Boxes and tags on a picture."""

import numpy as np
import pytest

from app.core.frame import Boxes
from app.vision.draw import colour_of, draw_objects
from app.vision.example import example_jpeg, example_picture

BOX = np.array([[40, 40, 100, 90]], np.float32)


def draw(xyxy: Boxes = BOX, *, identity: int | None = 1, size: tuple[int, int] = (200, 160)):
    rgb = np.full((size[1], size[0], 3), 128, np.uint8)
    rgb.flags.writeable = False
    count = len(xyxy)
    return rgb, draw_objects(rgb, xyxy, labels=["car"] * count, ids=[identity] * count, scores=[0.9] * count)


def test_a_new_picture_comes_back_with_the_outline_in_the_colour_of_the_identity() -> None:
    before, after = draw()
    assert (before == 128).all()
    np.testing.assert_allclose(after[65, 40], colour_of(1, "car"), atol=20)
    assert (after[65, 70] == 128).all()


def test_no_identity_is_none_or_minus_one() -> None:
    np.testing.assert_array_equal(draw(identity=None)[1], draw(identity=-1)[1])


def test_no_objects_give_the_same_picture() -> None:
    before, after = draw(np.empty((0, 4), np.float32))
    np.testing.assert_array_equal(before, after)
    assert not np.shares_memory(before, after)


@pytest.mark.parametrize(
    "box", [[-50, -50, 20, 20], [190, 150, 400, 400], [0, 0, 200, 160], [50, 50, 50, 50], [60, 0, 90, 5]]
)
def test_boxes_at_and_beyond_the_edges_are_drawn(box: list[float]) -> None:
    before, after = draw(np.array([box], np.float32))
    assert (before != after).any()


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (3840, 2160)])
def test_every_picture_size_can_be_drawn_on(size: tuple[int, int]) -> None:
    assert draw(size=size)[1].shape == (size[1], size[0], 3)


def test_larger_pictures_get_wider_lines() -> None:
    boxes = [np.array([[0.2, 0.2, 0.8, 0.8]], np.float32) * side for side in (200, 2000)]
    widths = []
    for box, side in zip(boxes, (200, 2000), strict=True):
        _, after = draw(box, size=(side, side))
        widths.append(int((after[side // 2, : side // 2] == colour_of(1, "car")).all(axis=1).sum()))
    assert widths[0] < widths[1]


def test_identities_keep_their_colour_and_neighbours_differ() -> None:
    colours = [colour_of(identity, "car") for identity in range(12)]
    assert len(set(colours)) == 12
    assert colour_of(3, "car") == colour_of(3, "bus")
    assert colour_of(-1, "car") == colour_of(-1, "car") != colour_of(-1, "person")


def test_the_example_is_always_the_same_picture() -> None:
    first, second = (example_picture(width_px=64, height_px=48) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (48, 64, 3)
    assert np.ptp(first) > 100


def test_the_example_is_also_a_jpeg() -> None:
    assert example_jpeg(width_px=64, height_px=48).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("edge", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_is_left_out(edge: float) -> None:
    before, after = draw(np.array([[10, 10, edge, 90]], np.float32))
    np.testing.assert_array_equal(before, after)


def test_a_box_far_larger_than_the_picture_is_drawn() -> None:
    before, after = draw(np.array([[20, -1e12, 1e12, 1e12]], np.float32))
    assert (before != after).any()
