"""A tenant's frames: never more than rate and burst allow, and never none for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.quota import Bucket, QuotaParameters, owed, taken

KNOBS = QuotaParameters(frames_per_s=10.0, burst_frames=5)
ASKS = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 12)), min_size=1, max_size=60)


def granted(asks: list[tuple[float, int]], knobs: QuotaParameters = KNOBS) -> tuple[int, float]:
    """Frames granted over these pauses and asks, and the time that passed."""
    bucket, now_s, total = Bucket(float(knobs.burst_frames), 0.0), 0.0, 0
    for pause_s, frames in asks:
        now_s += pause_s
        bucket, wait_s = taken(bucket, frames, now_s=now_s, parameters=knobs)
        total += frames * (wait_s == 0)
    return total, now_s


@given(ASKS)
def test_no_more_is_granted_than_rate_burst_and_one_ask_allow(asks: list[tuple[float, int]]) -> None:
    total, passed_s = granted(asks)
    largest = max(frames for _, frames in asks)
    assert total <= KNOBS.burst_frames + KNOBS.frames_per_s * passed_s + largest + 1e-6


def test_a_burst_is_had_at_once_and_then_the_rate() -> None:
    assert granted([(0.0, 1)] * 50)[0] == 5
    assert granted([(0.1, 1)] * 50)[0] == 50
    assert granted([(0.05, 1)] * 100)[0] == pytest.approx(5 + 50, abs=1)


@given(st.integers(1, 100), st.floats(0.01, 5))
def test_who_waits_for_as_long_as_it_was_told_gets_it(frames: int, spent: float) -> None:
    left = min(frames, 5) - spent
    bucket, wait_s = taken(Bucket(left, 0.0), frames, now_s=0.0, parameters=KNOBS)
    assert wait_s == pytest.approx(spent / 10)
    _, again_s = taken(bucket, frames, now_s=wait_s + 1e-9, parameters=KNOBS)
    assert again_s == 0


@given(st.lists(st.integers(1, 20), min_size=1, max_size=50))
def test_who_pays_later_is_held_to_the_rate_all_the_same(batches: list[int]) -> None:
    bucket, now_s = Bucket(5.0, 0.0), 0.0
    for frames in batches:
        bucket, wait_s = owed(bucket, frames, now_s=now_s, parameters=KNOBS)
        now_s += wait_s
    assert now_s == pytest.approx(max(0.0, (sum(batches) - 5) / 10), abs=1e-6)


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    bucket, _ = taken(Bucket(5.0, 100.0), 5, now_s=100.0, parameters=KNOBS)
    back, wait_s = taken(bucket, 1, now_s=0.0, parameters=KNOBS)
    assert wait_s == pytest.approx(0.1)
    assert taken(back, 1, now_s=100.2, parameters=KNOBS)[1] == 0
