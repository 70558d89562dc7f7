"""The account of an open loop notices what is late, what is not typed, and a client that was late itself."""

from collections import Counter
from math import nan

import numpy as np
import pytest

from load_tests.open_loop_account import Account, LateClientError, account_of, believed, quantile_s, stage_clocks
from load_tests.open_loop_client import Record, Refusal

TYPED = Refusal(503, "overloaded", has_retry_after=True)


def record(*ends: tuple[int, float], late_s: float = 0.0, cpu_s: float = 0.1, refusals: object = ()) -> Record:
    """One request a second, each with (status, latency)."""
    due_s = np.arange(len(ends), dtype=np.float64)
    return Record(
        due_s=due_s,
        taken_s=due_s + late_s,
        sent_s=due_s + late_s,
        ended_s=due_s + np.array([latency_s for _, latency_s in ends]),
        status=np.array([status for status, _ in ends]),
        refusals=Counter(refusals),  # type: ignore[arg-type]
        cpu_s=[0.01, cpu_s],
        elapsed_s=1.0,
    )


def account(*ends: tuple[int, float], **more: object) -> Account:
    return account_of(record(*ends, **more), slo_s=0.25)  # type: ignore[arg-type]


def test_only_answers_within_the_slo_are_good_and_latency_counts_from_when_it_was_due() -> None:
    found = account((200, 0.1), (200, 0.25), (200, 0.26), (503, 0.01), late_s=0.2)
    assert (found.offered, found.answered, found.on_time) == (4, 3, 2)
    assert found.goodput == 0.5
    assert found.answered_p99_s == pytest.approx(0.26)


@pytest.mark.parametrize(
    ("refusal", "is_typed"),
    [
        (TYPED, True),
        (Refusal(429, "quota", has_retry_after=True), True),
        (Refusal(504, "deadline_exceeded", has_retry_after=False), True),
        (Refusal(503, "overloaded", has_retry_after=False), False),
        (Refusal(503, "", has_retry_after=True), False),
        (Refusal(500, "internal", has_retry_after=False), False),
        (Refusal(0, "", has_retry_after=False), False),
    ],
)
def test_a_refusal_is_typed_with_a_code_and_a_time_to_come_again(refusal: Refusal, is_typed: bool) -> None:  # noqa: FBT001
    found = account((refusal.status, 0.01), refusals=[refusal])
    assert (found.typed, sum(found.strays.values())) == (int(is_typed), int(not is_typed))


def test_refusals_have_quantiles_of_their_own() -> None:
    found = account((200, 5.0), (503, 0.01), (503, 0.09))
    assert found.refused_p99_s == pytest.approx(0.09)


@pytest.mark.parametrize("fault", [{"late_s": 0.011}, {"cpu_s": 0.9}])
def test_a_client_that_was_late_or_busy_is_not_believed(fault: dict[str, float]) -> None:
    with pytest.raises(LateClientError):
        believed(account((200, 0.1), **fault))


def test_a_client_that_was_on_time_is_believed() -> None:
    found = account((200, 0.1))
    assert believed(found) is found


def test_requests_that_were_never_taken_do_not_hide_lateness() -> None:
    given = record((200, 0.1), (200, 0.1), late_s=0.5)
    given.taken_s[0] = nan
    assert account_of(given, slo_s=1).late_p99_s == pytest.approx(0.5)


def test_a_quantile_is_one_of_the_values_and_0_of_none() -> None:
    assert quantile_s(np.array([1.0, 2.0, 3.0, 4.0]), 0.5) == 2.0
    assert quantile_s(np.array([]), 0.99) == 0.0


def test_stage_clocks_are_those_of_the_answers() -> None:
    bodies = [b'{"timings": {"decode_s": 0.001, "inference_s": 0.01}}', b'{"timings": {"decode_s": 0.003}}']
    found = stage_clocks(bodies)
    assert found["decode_s"] == {"p50_s": 0.001, "p99_s": 0.003}
    assert found["queue_s"] == {"p50_s": 0.0, "p99_s": 0.0}
    assert stage_clocks([]) == {}
