"""What a process counts: nothing is lost between threads, nothing is told twice, memory does not grow."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.metrics import DETECTOR_FRAMES, DETECTOR_WAIT, INGRESS_WAITING, PROCESS_GC_PAUSE, SERVICE_FRAMES
from app.pipeline.tally import Tally, grown

STREET = ("street", "1.0.0")


def test_threads_lose_no_count() -> None:
    tally = Tally()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: [tally.count(DETECTOR_FRAMES, STREET) for _ in range(500)], range(8)))
    assert tally.total(DETECTOR_FRAMES) == 4000


@given(st.lists(st.lists(st.floats(0, 20), max_size=20), max_size=5))
def test_what_grew_from_look_to_look_is_all_there_is(rounds: list[list[float]]) -> None:
    tally, before, told = Tally(), Tally().snapshot(), 0
    total = 0.0
    for values in rounds:
        for value in values:
            tally.observe(DETECTOR_WAIT, STREET, value=value)
        now = tally.snapshot()
        for found in grown(now, before).histograms.values():
            told += found.count
            total += found.sum
        before = now
    assert told == sum(map(len, rounds))
    assert math.isclose(total, sum(map(sum, rounds)), abs_tol=1e-6)


def test_nothing_new_is_nothing_told() -> None:
    tally = Tally()
    tally.count(SERVICE_FRAMES, ("still", "result", ""))
    tally.observe(DETECTOR_WAIT, STREET, value=0.1)
    since = grown(tally.snapshot(), tally.snapshot())
    assert (since.counters, since.histograms) == ({}, {})


def test_a_value_lies_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    tally = Tally()
    for value in (1e-5, 1.01e-5, 1.0):
        tally.observe(PROCESS_GC_PAUSE, ("0",), value=value)
    counts = tally.snapshot().histograms[PROCESS_GC_PAUSE, ("0",)].counts
    assert [counts[0], counts[1], counts[-1], sum(counts)] == [1, 1, 1, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_recorded(value: float) -> None:
    tally = Tally()
    tally.observe(DETECTOR_WAIT, STREET, value=value)
    assert tally.snapshot().histograms == {}


def test_labels_that_are_not_the_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        Tally().count(DETECTOR_FRAMES, ("street",))


def test_a_gauge_of_what_is_gone_is_forgotten() -> None:
    tally = Tally()
    tally.set(INGRESS_WAITING, to=3)
    tally.keep(INGRESS_WAITING, lambda _labels: False)
    assert tally.snapshot().gauges == {}
