import pytest

from app.core.errors import InvalidParameterError
from app.tracking.parameters import TrackerParameters


@pytest.mark.parametrize(
    "knobs",
    [
        {"high_score": 1.1},
        {"low_score": -0.1},
        {"min_new_score": float("nan")},
        {"low_score": 0.8},
        {"min_iou": 0.0},
        {"min_iou": 1.5},
        {"max_lost_s": -1.0},
        {"max_lost_s": float("inf")},
        {"min_hits": 0},
        {"position_noise": 0.0},
        {"initial_growth": float("nan")},
    ],
)
def test_values_out_of_range_are_refused_by_name(knobs: dict[str, float]):
    with pytest.raises(InvalidParameterError, match=next(iter(knobs))):
        TrackerParameters(**knobs)


def test_defaults_are_in_range():
    assert TrackerParameters().max_lost_s > 0
