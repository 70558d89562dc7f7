import pytest

from app.pipeline.pulled_time import PulledTime, Times
from app.policy.source_clock import StampVerdict

UTC_S = 1.8e9
STEP_S = 1 / 15
HOUR_S = 3600.0


def observe(
    time: PulledTime, at_s: float, *, stamp_s: float | None, ntp_s: float | None = None, clock_s: float = 0.0
) -> Times:
    """A frame that arrives at `at_s`, on a wall clock that is `clock_s` ahead by now."""
    return time.observe(stamp_s, ntp_s=ntp_s, arrived_s=at_s, arrived_at=UTC_S + at_s + clock_s)


def test_a_source_whose_clock_is_set_is_believed() -> None:
    time = PulledTime(has_model=True)
    captured = [observe(time, n * STEP_S, stamp_s=n * STEP_S, ntp_s=UTC_S + n * STEP_S - 0.12) for n in range(30)]
    assert [times.captured_at for times in captured] == pytest.approx([UTC_S + n * STEP_S - 0.12 for n in range(30)])


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S, 0.5, -5.0])
def test_a_source_whose_clock_nobody_set_is_not(off_s: float) -> None:
    time = PulledTime(has_model=True)
    for n in range(30):
        times = observe(time, n * STEP_S, stamp_s=n * STEP_S, ntp_s=UTC_S + n * STEP_S + off_s)
        assert times.captured_at == pytest.approx(UTC_S + n * STEP_S)


def test_a_frame_held_up_on_the_way_keeps_its_time() -> None:
    time = PulledTime(has_model=True)
    delays_s = [0.0, 0.3, 0.24, 0.17, 0.1, 0.03, 0.0]
    times = [observe(time, n * STEP_S + delay_s, stamp_s=n * STEP_S) for n, delay_s in enumerate(delays_s)]
    assert [one.pts_s for one in times] == pytest.approx([n * STEP_S for n in range(7)])
    assert [one.captured_at for one in times] == pytest.approx([UTC_S + n * STEP_S for n in range(7)])


@pytest.mark.parametrize(("jump_s", "verdict"), [(HOUR_S, StampVerdict.LEAPT_AHEAD), (-HOUR_S, StampVerdict.WENT_BACK)])
def test_a_jump_of_an_hour_is_told_once_and_moves_no_time(jump_s: float, verdict: StampVerdict) -> None:
    time = PulledTime(has_model=True)
    stamps_s = [7200 + n * STEP_S + (0 if n < 10 else jump_s) for n in range(20)]
    times = [observe(time, n * STEP_S, stamp_s=stamp_s) for n, stamp_s in enumerate(stamps_s)]
    assert [one.verdict for one in times].count(verdict) == 1
    assert times[10].verdict is verdict
    assert [one.pts_s for one in times] == pytest.approx([n * STEP_S for n in range(20)])
    assert [one.captured_at for one in times] == pytest.approx([UTC_S + n * STEP_S for n in range(20)])


def test_over_a_cut_time_goes_on_by_what_passed_and_the_new_stamps_are_no_jump() -> None:
    time = PulledTime(has_model=True)
    for n in range(10):
        observe(time, n * STEP_S, stamp_s=500 + n * STEP_S)
    time.connected()
    first = observe(time, 10.0, stamp_s=0.0)
    second = observe(time, 10.0 + STEP_S, stamp_s=STEP_S)
    assert (first.verdict, second.verdict) == (StampVerdict.LEARNING, StampVerdict.LEARNING)
    assert (first.pts_s, second.pts_s) == pytest.approx((10.0, 10.0 + STEP_S))


def test_without_stamps_the_arrivals_count() -> None:
    time = PulledTime(has_model=True)
    times = [observe(time, at_s, stamp_s=None) for at_s in (3.0, 3.1, 3.1, 4.0)]
    assert [one.verdict for one in times] == [StampVerdict.MISSING] * 4
    assert [one.pts_s for one in times] == pytest.approx([0.0, 0.1, 0.101, 1.001])
    assert [one.captured_at for one in times] == pytest.approx([UTC_S + at_s for at_s in (3.0, 3.1, 3.1, 4.0)])


def test_our_own_clock_set_back_by_an_hour_is_followed_and_a_little_is_not() -> None:
    time = PulledTime(has_model=True)
    observe(time, 0.0, stamp_s=0.0)
    assert observe(time, 1.0, stamp_s=1.0, clock_s=-3.0).captured_at == UTC_S
    assert observe(time, 2.0, stamp_s=2.0, clock_s=-HOUR_S).captured_at == pytest.approx(UTC_S + 2 - HOUR_S)


def test_a_file_read_as_fast_as_it_can_be_keeps_its_own_times() -> None:
    time = PulledTime(has_model=False)
    times = [observe(time, n * 0.001, stamp_s=5 + n * STEP_S) for n in range(30)]
    assert [one.pts_s for one in times] == pytest.approx([n * STEP_S for n in range(30)])
    assert {one.verdict for one in times} == {StampVerdict.STEADY}
    assert observe(time, 0.05, stamp_s=1.0).verdict is StampVerdict.WENT_BACK
