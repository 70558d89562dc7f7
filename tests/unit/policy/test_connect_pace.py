from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from app.policy.connect_pace import BURST, MIN_PER_S, SHARE_PER_S, ConnectPace

GAPS_S = st.lists(st.floats(0, 2), min_size=1, max_size=300)


def paced(members: int) -> ConnectPace:
    pace = ConnectPace()
    for _ in range(members):
        pace.join()
    return pace


def peak_per_s(times_s: list[float]) -> int:
    """The most within one second, wherever it begins."""
    return max(bisect_left(times_s, time_s + 1.0) - place for place, time_s in enumerate(times_s))


@given(gap_s=st.floats(1 / MIN_PER_S, 100), tries=st.integers(1, 200))
def test_a_lone_session_never_waits_not_even_with_the_fastest_policy(gap_s: float, tries: int) -> None:
    pace = paced(1)
    assert {pace.turn_s(now_s=1000.0 + number * gap_s) for number in range(tries)} == {0.0}


def test_a_small_site_connects_at_once() -> None:
    pace = paced(BURST)
    assert [pace.turn_s(now_s=5.0) for _ in range(BURST)] == [0.0] * BURST


@given(members=st.integers(100, 300), gaps_s=GAPS_S)
def test_at_most_a_fifth_connects_in_any_second_whenever_they_ask(members: int, gaps_s: list[float]) -> None:
    pace, now_s, turns_s = paced(members), 0.0, []
    for number in range(members):
        now_s += gaps_s[number % len(gaps_s)]
        turns_s.append(now_s + pace.turn_s(now_s=now_s))
    assert turns_s == sorted(turns_s)
    assert peak_per_s(turns_s) <= 0.2 * members + 1  # one on each end of the second, by rounding


@given(members=st.integers(1, 1000))
def test_the_last_of_a_herd_has_its_turn_within_ten_seconds(members: int) -> None:
    pace = paced(members)
    assert max(pace.turn_s(now_s=0.0) for _ in range(members)) <= 1 / SHARE_PER_S


def test_sessions_that_left_do_not_count() -> None:
    pace = paced(1000)
    for _ in range(1000):
        pace.leave()
    waits_s = [pace.turn_s(now_s=0.0) for _ in range(BURST + 1)]
    assert waits_s[-1] == 1 / MIN_PER_S


def test_a_clock_that_stands_or_goes_back_gives_nothing_away() -> None:
    pace = paced(1)
    waits_s = [pace.turn_s(now_s=now_s) for now_s in [9.0] * BURST + [8.0, 7.0]]
    assert waits_s[-2:] == [1 / MIN_PER_S, 2 / MIN_PER_S]
