"""The detector without a model."""

from typing import TypeAlias

import numpy as np
import pytest

from app.core.frame import Pixels
from engines.reference import LABELS, MAX_ROWS, ReferenceEngine
from tests.builders import make_rgb

GREY = 114
Block: TypeAlias = tuple[tuple[int, int, int, int], tuple[int, int, int]]


def canvas(*blocks: Block, size_px: int = 64):
    rgb = np.full((size_px, size_px, 3), GREY, np.uint8)
    for (x1, y1, x2, y2), colour in blocks:
        rgb[y1:y2, x1:x2] = colour
    return rgb


def found(rgb: Pixels):
    engine = ReferenceEngine(width_px=rgb.shape[1], height_px=rgb.shape[0])
    (row,) = engine.infer([rgb])
    return row[row[:, 4] > 0]


@pytest.mark.parametrize(
    ("colour", "label"),
    [((220, 30, 30), "red"), ((30, 200, 60), "green"), ((20, 40, 230), "blue"), ((250, 250, 250), "white")],
)
def test_a_blob_is_found_by_its_colour_with_a_tight_box(colour: tuple[int, int, int], label: str) -> None:
    rows = found(canvas(((8, 16, 24, 48), colour)))
    assert rows.tolist() == [[8, 16, 24, 48, 1.0, LABELS.index(label)]]


def test_touching_blobs_of_two_colours_are_two_objects() -> None:
    rows = found(canvas(((0, 0, 10, 10), (255, 0, 0)), ((10, 0, 20, 10), (0, 0, 255))))
    assert sorted(rows[:, 5].tolist()) == [0, 2]


def test_a_ragged_blob_scores_lower_than_a_full_one_and_comes_later() -> None:
    rows = found(canvas(((0, 0, 20, 4), (255, 0, 0)), ((0, 4, 4, 20), (255, 0, 0)), ((40, 40, 60, 60), (0, 255, 0))))
    assert rows[:, 5].tolist() == [1, 0]
    assert rows[0, 4] > rows[1, 4] > 0.5


def test_grey_and_specks_are_nothing() -> None:
    assert len(found(canvas(((5, 5, 8, 8), (255, 0, 0))))) == 0


def test_a_tie_of_two_channels_belongs_to_one_label() -> None:
    assert found(canvas(((8, 8, 24, 24), (230, 230, 0))))[:, 5].tolist() == [0]


def test_noise_gives_the_same_answer_every_time_and_never_too_many_rows() -> None:
    rgb = make_rgb(width_px=640, height_px=640)
    engine = ReferenceEngine()
    first, second = engine.infer([rgb, rgb])
    np.testing.assert_array_equal(first, second)
    assert first.shape == (MAX_ROWS, 6)
