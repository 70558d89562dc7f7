import numpy as np
import pytest

from app.tracking.rim import Rim

RIM = Rim(width_px=800, height_px=400)


def sides_of(*box: float) -> list[float]:
    sides = RIM.sides(np.array([[*box], [300.0, 100.0, 400.0, 400.0]]).T)
    assert sides is not None
    return sides[:, 0].tolist()


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        ((0, 100, 50, 200), [-1, 0]),
        ((700, 100, 800, 200), [1, 0]),
        ((100, 0, 200, 100), [0, -1]),
        ((100, 300, 200, 400), [0, 1]),
        ((700, 300, 800, 400), [1, 1]),
        ((0, 100, 800, 200), [0, 0]),
        ((100, 100, 200, 200), [0, 0]),
    ],
)
def test_edges_on_the_rim_are_told_by_side_and_both_are_none(box: tuple[float, ...], sides: list[float]):
    assert sides_of(*box) == sides


def test_an_edge_a_few_pixels_before_the_rim_lies_on_it_and_one_further_off_does_not():
    assert sides_of(700, 100, 797, 200) == [1, 0]
    assert sides_of(700, 100, 790, 200) == [0, 0]


def test_a_box_beyond_the_picture_does_not_lie_on_its_rim():
    assert sides_of(900, 100, 1000, 200) == [0, 0]


def test_there_are_no_sides_where_no_box_lies_on_the_rim():
    assert RIM.sides(np.array([[100.0, 100.0, 200.0, 200.0]]).T) is None
    assert RIM.sides(np.empty((4, 0))) is None
