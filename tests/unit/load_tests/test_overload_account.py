"""The account of the scenario `overload`: goodput, recovery, capacity."""

from collections import Counter

import numpy as np
import pytest

from load_tests.open_loop_account import account_of
from load_tests.open_loop_arrivals import Floats, Ints
from load_tests.open_loop_client import Record
from load_tests.overload_account import Level, back_to_normal_s, most_within_slo_hz, p99_s

SLO_S = 0.25


def record(due_s: Floats, latency_s: Floats, status: Ints | None = None) -> Record:
    return Record(
        due_s=due_s,
        taken_s=due_s,
        sent_s=due_s,
        ended_s=due_s + latency_s,
        status=np.full(len(due_s), 200) if status is None else status,
        refusals=Counter(),
        cpu_s=[0.0],
        elapsed_s=1.0,
    )


def level(found: Record, *, back_s: float | None = 1.0) -> Level:
    return Level(
        factor=2.0,
        seconds=10.0,
        capacity_hz=50.0,
        account=account_of(found, slo_s=SLO_S),
        rss_growth_bytes=3 * 2**20,
        back_s=back_s,
        watched_s=20.0,
        alive_p99_s=0.01,
    )


def test_goodput_is_what_came_in_time_over_what_capacity_allows() -> None:
    due_s = np.linspace(0, 10, 1000)
    latency_s = np.where(np.arange(1000) < 400, 0.1, 0.3)
    found = level(record(due_s, latency_s))
    assert found.goodput == pytest.approx(400 / 500)
    assert found.figures(SLO_S)["goodput_2x"] == pytest.approx(0.8)
    assert found.figures(SLO_S)["accepted_p99_slo_2x"] == pytest.approx(1.2)
    assert found.figures(SLO_S)["overload_rss_mib_2x"] == 3.0


def test_a_service_that_is_not_normal_again_is_told_to_take_as_long_as_it_was_watched() -> None:
    found = level(record(np.array([0.0]), np.array([0.1])), back_s=None)
    assert found.figures(SLO_S)["back_s_2x"] == 20.0
    assert found.details()["is_back"] is False


@pytest.mark.parametrize("bad_until_s", [0.0, 2.0, 7.3])
def test_it_is_back_once_nothing_is_late_or_refused_any_more(bad_until_s: float) -> None:
    due_s = np.arange(0, 20, 0.05)
    late = record(due_s, np.where(due_s < bad_until_s, 1.0, 0.1))
    refused = record(due_s, np.full(len(due_s), 0.01), np.where(due_s < bad_until_s, 503, 200))
    for found in (late, refused):
        back_s = back_to_normal_s(found, slo_s=SLO_S, over_s=0.0)
        assert back_s == pytest.approx(bad_until_s, abs=0.15)


def test_it_never_is_where_one_in_twenty_stays_late() -> None:
    due_s = np.arange(0, 20, 0.05)
    found = record(due_s, np.where(np.arange(len(due_s)) % 20 == 0, 1.0, 0.1))
    assert back_to_normal_s(found, slo_s=SLO_S, over_s=0.0) is None


def test_capacity_counts_only_what_came_within_the_slo() -> None:
    quick, slow = np.full(80, 0.1), np.full(120, 0.4)
    assert most_within_slo_hz([(quick, 2.0), (slow, 2.0)], slo_s=SLO_S) == 40.0
    assert most_within_slo_hz([], slo_s=SLO_S) == 0.0


def test_what_was_never_answered_has_no_latency() -> None:
    found = record(np.array([0.0, 1.0]), np.array([0.1, 30.0]), np.array([200, 0]))
    assert p99_s(found) == pytest.approx(0.1)
