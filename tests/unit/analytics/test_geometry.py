import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analytics.geometry import Polygon, Segment, Space, contains, crossing_shares, edges, signed_distances
from app.core.errors import InvalidParameterError

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
HOOK = np.array([[0, 0], [4, 0], [4, 4], [3, 4], [3, 1], [1, 1], [1, 4], [0, 4]], dtype=float)


@pytest.mark.parametrize(
    "corners",
    [
        ((0, 0), (1, 1)),
        ((0, 0), (1, 0), (0, 0)),
        ((0, 0), (0.5, 0.5), (1, 1)),
        ((0, 0), (1, 1), (1, 0), (0, 1)),
        ((0, 0), (1, 0), (1, 0), (1, 1)),
        ((0, 0), (1, 0), (0.5, 0), (0.5, 1)),
        ((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)),
        ((0, 0), (1, 0), (1, float("nan"))),
        ((0, 0), (1, 0), (1, 1.01)),
        ((-0.01, 0), (1, 0), (1, 1)),
        tuple((0.5 + 0.4 * np.cos(a), 0.5 + 0.4 * np.sin(a)) for a in np.linspace(0, 6, 257)),
    ],
    ids=["two", "back", "flat", "bow", "twice", "spike", "touch", "nan", "high", "low", "many"],
)
def test_bad_polygon_is_refused(corners: tuple):
    with pytest.raises(InvalidParameterError):
        Polygon(corners=corners)


@pytest.mark.parametrize("ends", [((0.5, 0.5), (0.5, 0.5)), ((0, 0), (float("inf"), 0)), ((0, 0), (2, 0))])
def test_bad_line_is_refused(ends: tuple):
    with pytest.raises(InvalidParameterError):
        Segment(start=ends[0], end=ends[1])


def test_pixels_are_checked_against_the_picture():
    segment = Segment(start=(0, 0), end=(700, 0), space=Space.PIXELS)
    assert segment.in_pixels(width_px=700, height_px=400).tolist() == [[0, 0], [700, 0]]
    with pytest.raises(InvalidParameterError):
        segment.in_pixels(width_px=699, height_px=400)


def test_shares_become_pixels_per_axis():
    assert Polygon(corners=SQUARE).in_pixels(width_px=200, height_px=100)[2].tolist() == [200, 100]


def test_collinear_corner_is_allowed():
    Polygon(corners=((0, 0), (0.5, 0), (1, 0), (1, 1)))


def test_right_of_a_line_is_positive():
    upwards = np.array([[5.0, 9.0], [5.0, 0.0]])
    assert signed_distances(np.array([[7.0, 3.0], [4.0, -20.0], [5.0, 1.0]]), upwards).tolist() == [2, -1, 0]


def test_left_and_upper_edges_belong_to_a_polygon():
    square = np.array([[1, 1], [3, 1], [3, 3], [1, 3]], dtype=float)
    points = np.array([[1, 1], [1, 2], [2, 1], [3, 2], [2, 3], [3, 3], [2, 2], [np.nan, 2]], dtype=float)
    assert contains(square, points).tolist() == [True, True, True, False, False, False, True, False]
    assert contains(square[::-1], points).tolist() == contains(square, points).tolist()


def test_hollow_of_a_polygon_is_outside():
    assert contains(HOOK, np.array([[2.0, 3.0], [0.5, 3.0], [3.5, 3.0], [2.0, 0.5]])).tolist() == [False] + [True] * 3


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=2, unique=True), st.floats(0, 1))
def test_point_on_a_shared_edge_lies_in_exactly_one_polygon(cut: list, share: float):
    (x1, y1), (x2, y2) = cut
    points = np.array([[x1 + share * (x2 - x1), y1 + share * (y2 - y1)]])
    both = [contains(np.array([*cut, far]), points)[0] for far in far_sides(cut)]
    quad = contains(np.array([cut[0], far_sides(cut)[0], cut[1], far_sides(cut)[1]]), points)[0]
    assert sum(both) % 2 == quad


def far_sides(cut: list) -> list:
    (x1, y1), (x2, y2) = cut
    return [[x1 - 9 * (y2 - y1), y1 + 9 * (x2 - x1)], [x1 + 9 * (y2 - y1), y1 - 9 * (x2 - x1)]]


def test_paths_meet_segments_at_their_share():
    paths = np.array([[[0, 0], [4, 0]], [[0, 5], [4, 5]], [[1, 0], [1, 0]]], dtype=float)
    segments = np.array([[[1, -1], [1, 1]], [[0, 0], [2, 0]], [[4, 0], [4, 9]]], dtype=float)
    nan = np.nan
    np.testing.assert_equal(crossing_shares(paths, segments), [[0.25, nan, 1.0], [nan, nan, 1.0], [nan, nan, nan]])


def test_edges_close_the_polygon():
    assert edges(np.array(SQUARE))[-1].tolist() == [[0, 1], [0, 0]]
