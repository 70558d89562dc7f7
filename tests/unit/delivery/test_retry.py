import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.retry import RetryPolicy, delay_s

POLICY = RetryPolicy(first_s=0.5, cap_s=30.0, max_asked_s=300.0)


@pytest.mark.parametrize(("attempt", "bound_s"), [(0, 0.5), (1, 1.0), (5, 16.0), (6, 30.0), (100_000, 30.0)])
def test_waits_double_up_to_the_cap(attempt: int, bound_s: float) -> None:
    assert delay_s(POLICY, attempt, jitter=0.0) == bound_s
    assert delay_s(POLICY, attempt, jitter=0.75) == bound_s / 4


@given(attempt=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True), asked_s=st.none() | st.floats())
def test_a_wait_is_over_zero_bounded_and_never_shorter_than_was_asked_for(
    attempt: int, jitter: float, asked_s: float | None
) -> None:
    waited_s = delay_s(POLICY, attempt, jitter=jitter, asked_s=asked_s)
    assert 0 < waited_s <= 300
    assert asked_s is None or not asked_s > 0 or waited_s >= min(asked_s, 300)


@pytest.mark.parametrize("options", [{"first_s": 0.0}, {"first_s": 2.0, "cap_s": 1.0}, {"attempts": 0}])
def test_a_policy_that_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="please"):
        RetryPolicy(**options)  # type: ignore[arg-type]
