"""Arrivals are as many, as random and as ordered as they say."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.open_loop_arrivals import after_curve, even, from_trace, poisson


@given(rate_hz=st.floats(0.5, 500), seconds=st.floats(0.1, 20), seed=st.integers(0, 2**31))
def test_poisson_arrivals_are_in_order_within_their_time_and_the_same_for_the_same_seed(
    rate_hz: float, seconds: float, seed: int
) -> None:
    due_s = poisson(rate_hz, seconds, seed=seed)
    assert np.all(np.diff(due_s) >= 0)
    assert np.all((due_s >= 0) & (due_s <= seconds))
    np.testing.assert_array_equal(due_s, poisson(rate_hz, seconds, seed=seed))


def test_poisson_gaps_are_exponential() -> None:
    gaps_s = np.diff(poisson(100.0, 2_000.0, seed=1))
    assert gaps_s.mean() == pytest.approx(0.01, rel=0.01)
    assert gaps_s.std() == pytest.approx(0.01, rel=0.01)
    assert (gaps_s > 0.01).mean() == pytest.approx(np.exp(-1), rel=0.01)


def test_even_arrivals_are_at_equal_distances() -> None:
    np.testing.assert_allclose(even(4.0, 1.0), [0.0, 0.25, 0.5, 0.75])


def test_a_curve_is_followed() -> None:
    due_s = after_curve([(0.0, 0.0), (100.0, 200.0), (200.0, 200.0)], seed=2)
    first, second = (due_s < 100).sum(), (due_s >= 100).sum()
    assert first == pytest.approx(10_000, rel=0.03)
    assert second == pytest.approx(20_000, rel=0.03)
    assert (due_s < 50).sum() == pytest.approx(2_500, rel=0.06)


@pytest.mark.parametrize("points", [[(0.0, 1.0)], [(1.0, 1.0), (0.0, 1.0)], [(0.0, -1.0), (1.0, 1.0)]])
def test_what_is_no_curve_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="a curve has"):
        after_curve(points, seed=0)


def test_a_trace_begins_at_0_with_or_without_a_line_of_names(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("at_s,what\n10.5,a\n10.0,b\n\n12.0,c\n", encoding="utf-8")
    np.testing.assert_allclose(from_trace(file), [0.0, 0.5, 2.0])
    file.write_text("3\n4\n", encoding="utf-8")
    np.testing.assert_allclose(from_trace(file), [0.0, 1.0])


def test_a_trace_without_arrivals_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("at_s\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trace\.csv holds no arrival"):
        from_trace(file)
