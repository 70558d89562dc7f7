import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.reconnect import CAP_S, MAX_ANNOUNCED_S, POLICIES, Backoff, ReconnectPolicy, delay_s

FAST, EXPONENTIAL, SERVER = (POLICIES[backoff] for backoff in (Backoff.FAST, Backoff.EXPONENTIAL, Backoff.SERVER))
ATTEMPTS = st.integers(0, 10_000)
JITTERS = st.floats(0, 1, exclude_max=True)
BOUNDS_S = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_every_rule_has_a_policy_without_bound_and_only_fast_resets_the_sequence() -> None:
    assert {backoff: policy.backoff for backoff, policy in POLICIES.items()} == {b: b for b in Backoff}
    assert {policy.max_attempts for policy in POLICIES.values()} == {None}
    assert [backoff for backoff, policy in POLICIES.items() if policy.resets_sequence] == [Backoff.FAST]


@given(attempt=ATTEMPTS, jitter=JITTERS)
def test_fast_always_waits_200_ms(attempt: int, jitter: float) -> None:
    assert delay_s(FAST, attempt, jitter=jitter, announced_s=30.0) == 0.2


@pytest.mark.parametrize(("attempt", "bound_s"), list(enumerate(BOUNDS_S)))
def test_the_bound_doubles_from_500_ms_up_to_10_s(attempt: int, bound_s: float) -> None:
    assert delay_s(EXPONENTIAL, attempt, jitter=0.0, announced_s=None) == bound_s
    assert delay_s(EXPONENTIAL, attempt, jitter=0.75, announced_s=None) == bound_s / 4


def check_full_jitter(delay: Callable[[float], float]) -> None:
    """Over evenly spread `jitter` the delays are above 0, reach the bound of the first try, and lie evenly below it."""
    delays = sorted(delay(step / 1000) for step in range(1000))
    assert 0 < delays[0] < 0.001
    assert delays[-1] == 0.5
    assert math.isclose(sum(delays) / len(delays), 0.25, rel_tol=0.01)


def test_the_jitter_is_full() -> None:
    check_full_jitter(lambda jitter: delay_s(EXPONENTIAL, 0, jitter=jitter, announced_s=None))


@pytest.mark.parametrize("planted", [lambda _: 0.5, lambda jitter: 0.25 + jitter / 4, lambda jitter: jitter / 2])
def test_the_check_finds_a_delay_without_jitter_with_half_of_it_and_of_zero(planted: Callable[[float], float]) -> None:
    with pytest.raises(AssertionError):
        check_full_jitter(planted)


@pytest.mark.parametrize(
    ("announced_s", "waited_s"), [(0.0, 0.2), (3.5, 3.5), (60.0, 60.0), (61.0, 60.0), (math.inf, 60.0), (-1.0, 0.2)]
)
def test_the_server_is_obeyed_within_bounds(announced_s: float, waited_s: float) -> None:
    assert delay_s(SERVER, 7, jitter=0.5, announced_s=announced_s) == waited_s


@given(attempt=ATTEMPTS, jitter=JITTERS, nothing=st.sampled_from([None, math.nan]))
def test_a_server_that_announces_nothing_gets_the_doubling_rule(
    attempt: int, jitter: float, nothing: float | None
) -> None:
    expected_s = delay_s(EXPONENTIAL, attempt, jitter=jitter, announced_s=None)
    assert delay_s(SERVER, attempt, jitter=jitter, announced_s=nothing) == expected_s


@given(
    policy=st.sampled_from(list(POLICIES.values())),
    attempt=ATTEMPTS,
    jitter=JITTERS,
    announced_s=st.none() | st.floats(),
)
def test_no_delay_is_endless(policy: ReconnectPolicy, attempt: int, jitter: float, announced_s: float | None) -> None:
    waited_s = delay_s(policy, attempt, jitter=jitter, announced_s=announced_s)
    assert 0 <= waited_s <= (MAX_ANNOUNCED_S if policy is SERVER else CAP_S)


@pytest.mark.parametrize(("attempt", "jitter"), [(-1, 0.5), (0, 1.0), (0, -0.1), (0, math.nan)])
def test_a_number_out_of_range_is_refused(attempt: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        delay_s(FAST, attempt, jitter=jitter, announced_s=None)
