"""How often a dead process is started again."""

from hypothesis import given
from hypothesis import strategies as st

from engines.restarts import RestartLimits, Restarts

LIMITS = RestartLimits(max_restarts=4, window_s=100.0, first_s=0.5, cap_s=1.5)


def test_pauses_double_up_to_the_cap_and_then_it_is_over() -> None:
    restarts = Restarts(LIMITS)
    assert [restarts.delay_s(float(second)) for second in range(6)] == [0.5, 1.0, 1.5, 1.5, None, None]


def test_what_lies_before_the_window_is_forgotten() -> None:
    restarts = Restarts(LIMITS)
    for second in range(4):
        restarts.delay_s(float(second))
    assert restarts.delay_s(99.9) is None
    assert restarts.delay_s(103.0) == 0.5


def test_none_may_be_allowed() -> None:
    assert Restarts(RestartLimits(max_restarts=0)).delay_s(0.0) is None


@given(st.lists(st.floats(0, 1_000), max_size=50))
def test_no_window_ever_holds_more_than_the_limit(steps_s: list[float]) -> None:
    restarts, now_s, allowed_s = Restarts(LIMITS), 0.0, []
    for step_s in steps_s:
        now_s += step_s
        allowed_s += [now_s] * (restarts.delay_s(now_s) is not None)
    for begin_s in allowed_s:
        assert sum(begin_s <= other_s < begin_s + LIMITS.window_s for other_s in allowed_s) <= LIMITS.max_restarts
