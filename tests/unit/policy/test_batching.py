import pytest

from app.policy.batching import BatchLimits, frames_to_take, is_admitted, retry_after_s

LIMITS = BatchLimits(max_batch=8, max_in_flight=2, max_waiting=16)


@pytest.mark.parametrize(
    ("waiting", "in_flight", "taken"), [(0, 0, 0), (1, 0, 1), (5, 1, 5), (9, 0, 8), (9, 2, 0), (16, 1, 8)]
)
def test_a_batch_leaves_as_soon_as_a_slot_is_free(waiting: int, in_flight: int, taken: int) -> None:
    assert frames_to_take(waiting=waiting, in_flight=in_flight, limits=LIMITS) == taken


def test_the_door_closes_when_as_many_wait_as_may() -> None:
    assert is_admitted(waiting=15, limits=LIMITS)
    assert not is_admitted(waiting=16, limits=LIMITS)


@pytest.mark.parametrize(
    ("waiting", "rate", "wait_s"), [(10, 0.0, 1.0), (10, 100.0, 1.0), (100, 10.0, 10.0), (9999, 1.0, 60.0)]
)
def test_retry_after_is_the_time_the_queue_takes(waiting: int, rate: float, wait_s: float) -> None:
    assert retry_after_s(waiting=waiting, frames_per_s=rate) == wait_s
