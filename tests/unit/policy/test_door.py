"""The door by expected wait: whom it lets in it answers in time at any load. A door that counts is the control."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.door import LEAST, MAX_TAIL, WINDOW, Line, Pace, is_worth_it
from tests.unit.policy.doors import CAPACITY_HZ, LIMITS, SLO_S, Door, Service, by_count, by_deadline, by_wait

SECONDS = 30.0
COUNTS = st.integers(0, 500)
PACES = st.floats(0, 10)
ANSWERS = st.lists(st.tuples(st.integers(1, 90), st.just(0.0) | st.floats(1e-6, 100)), min_size=LEAST, max_size=80)


def loaded(door: Door, factor: float) -> Service:
    """That load on a service which has worked before, as the load test has it."""
    calm = Service(door, Random(1))
    calm.meet(0.5, seconds=5.0)
    service = Service(door, Random(int(factor * 10)), pace=calm.pace)
    service.meet(factor, seconds=SECONDS)
    return service


def paced(*answers: tuple[int, float]) -> Pace:
    pace = Pace()
    for place, elapsed_s in answers:
        pace.observe(place, elapsed_s)
    return pace


@pytest.mark.parametrize("door", [by_wait, by_deadline])
@pytest.mark.parametrize(("factor", "goodput"), [(2.0, 0.95), (5.0, 0.90), (10.0, 0.80)])
def test_goodput_stays_near_capacity_at_any_overload(door: Door, factor: float, goodput: float) -> None:
    service = loaded(door, factor)
    assert service.goodput(seconds=SECONDS) >= goodput
    latencies_s = sorted(service.latencies_s)
    assert latencies_s[int(0.99 * len(latencies_s))] <= 2 * SLO_S


@pytest.mark.parametrize("door", [by_wait, by_deadline])
def test_a_service_that_has_answered_nobody_yet_recovers_from_the_first_crowd(door: Door) -> None:
    service = Service(door, Random(4))
    service.meet(10.0, seconds=SECONDS)
    assert service.goodput(seconds=SECONDS) >= 0.80
    assert sorted(service.latencies_s[-500:])[495] <= 2 * SLO_S


@pytest.mark.parametrize("factor", [2.0, 5.0, 10.0])
def test_a_door_that_counts_frames_lets_nearly_everybody_be_late(factor: float) -> None:
    assert loaded(by_count, factor).goodput(seconds=SECONDS) < 0.1


@pytest.mark.parametrize("door", [by_wait, by_deadline])
def test_half_of_the_load_that_it_can_bear_is_hardly_ever_refused(door: Door) -> None:
    service = loaded(door, 0.5)
    assert service.refused <= 0.02 * len(service.latencies_s)


@pytest.mark.parametrize("door", [by_wait, by_deadline])
def test_an_engine_that_becomes_four_times_slower_is_followed(door: Door) -> None:
    service = Service(door, Random(2), slower=4.0, slower_from_s=10.0)
    service.meet(3.0, seconds=SECONDS)
    assert service.goodput(seconds=SECONDS) >= 0.7 * (10 + 20 / 4) / SECONDS


@pytest.mark.parametrize("door", [by_wait, by_deadline])
def test_an_engine_that_becomes_fast_again_is_used(door: Door) -> None:
    slow = Service(door, Random(2), slower=4.0)
    slow.meet(3.0, seconds=10.0)
    fast = Service(door, Random(3), pace=slow.pace)
    fast.meet(2.0, seconds=SECONDS)
    assert fast.goodput(seconds=SECONDS) >= 0.9


@given(ahead=COUNTS, others=COUNTS, left_s=st.none() | st.floats(0, 60))
def test_everybody_passes_before_a_pace_is_known(ahead: int, others: int, left_s: float | None) -> None:
    assert is_worth_it(Line(ahead=ahead, others=others), left_s=left_s, each_s=Pace().each_s, limits=LIMITS)


@given(each_s=PACES, left_s=st.none() | st.floats(0, 60))
def test_whoever_finds_nobody_ahead_passes(each_s: float, left_s: float | None) -> None:
    assert is_worth_it(Line(ahead=0, others=0), left_s=left_s, each_s=each_s, limits=LIMITS)


@given(own=COUNTS, each_s=PACES)
def test_the_parts_of_one_request_do_not_keep_each_other_out(own: int, each_s: float) -> None:
    assert is_worth_it(Line(ahead=own, others=0), left_s=None, each_s=each_s, limits=LIMITS)


@given(ahead=COUNTS, each_s=PACES, left_s=st.none() | st.floats(0, 60))
def test_who_is_refused_is_refused_behind_a_longer_line_too(ahead: int, each_s: float, left_s: float | None) -> None:
    near, far = (
        is_worth_it(Line(ahead=n, others=n), left_s=left_s, each_s=each_s, limits=LIMITS) for n in (ahead, ahead + 1)
    )
    assert near >= far


@pytest.mark.parametrize(("ahead", "left_s", "is_let_in"), [(4, 0.25, True), (5, 0.25, False), (5, 0.31, True)])
def test_a_deadline_that_cannot_be_kept_is_refused(ahead: int, left_s: float, is_let_in: bool) -> None:  # noqa: FBT001  parametrised
    line = Line(ahead=ahead, others=0)
    assert is_worth_it(line, left_s=left_s, each_s=0.05, limits=LIMITS) is is_let_in


def test_without_a_deadline_the_limit_counts_and_as_many_as_batches_always_pass() -> None:
    limits = replace(LIMITS, max_in_flight=2, max_wait_s=1.0)
    let_in = [is_worth_it(Line(ahead=n, others=n), left_s=None, each_s=0.25, limits=limits) for n in range(6)]
    assert let_in == [True, True, True, True, False, False]
    slow = [is_worth_it(Line(ahead=n, others=n), left_s=None, each_s=9.0, limits=limits) for n in range(4)]
    assert slow == [True, True, False, False]


@given(ANSWERS)
def test_the_pace_lies_among_what_was_seen(answers: list[tuple[int, float]]) -> None:
    pace = paced(*answers)
    recent = [elapsed_s / place for place, elapsed_s in answers[-WINDOW:]]
    assert min(recent) <= pace.each_s <= max(recent)
    assert pace.frames_per_s * pace.each_s == pytest.approx(float(pace.each_s > 0))


def test_long_lines_say_more_than_short_ones() -> None:
    assert paced(*[(1, 0.04)] * 20, *[(12, 0.24)] * 5).each_s == pytest.approx(0.02)


def test_a_stall_does_not_close_the_door_after_it() -> None:
    assert paced(*[(1, 0.05)] * 20, *[(20, 10.0)] * 3).each_s <= MAX_TAIL * 0.05


def test_no_pace_is_known_from_the_first_answers() -> None:
    pace = paced(*[(1, 9.0)] * (LEAST - 1))
    assert (pace.each_s, pace.frames_per_s) == (0.0, 0.0)
    pace.observe(1, 0.5)
    assert (pace.each_s, pace.frames_per_s) == (9.0, pytest.approx(1 / 9))


def test_slow_first_answers_do_not_close_the_door_after_them() -> None:
    assert paced(*[(1, 9.0)] * 3, *[(1, 0.05)] * LEAST).each_s == MAX_TAIL * 0.05


def test_the_load_is_what_it_says() -> None:
    service = loaded(by_count, 0.5)
    assert len(service.latencies_s) == pytest.approx(0.5 * CAPACITY_HZ * SECONDS, rel=0.1)
    assert service.refused == 0
