"""What one process has counted since it began, added up in plain Python: whoever publishes it looks once a second."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.core.metrics import Labels, Metric

Series: TypeAlias = tuple[Metric, Labels]
"""A metric with the values of its labels."""


@dataclass(slots=True)
class Distribution:
    """How many values lay in each bucket of a histogram, and their sum in each; the last bucket is without bound."""

    counts: list[int]
    sums: list[float]

    @classmethod
    def of(cls, metric: Metric) -> "Distribution":
        """One without values."""
        size = len(metric.buckets) + 1
        return cls([0] * size, [0.0] * size)

    def copy(self) -> "Distribution":
        """The same, which changes no more."""
        return Distribution(self.counts.copy(), self.sums.copy())

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    @property
    def sum(self) -> float:
        """All of them together."""
        return sum(self.sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All series at one moment."""

    counters: Mapping[Series, float] = field(default_factory=dict)
    gauges: Mapping[Series, float] = field(default_factory=dict)
    histograms: Mapping[Series, Distribution] = field(default_factory=dict)


class Tally:
    """The `Metrics` of one process. Safe for threads, but not for callbacks of the garbage collector.

    Those run within any line that makes an object, so also within one that holds the lock. A value that is not finite
    is not recorded, and a histogram keeps no values, only its buckets: memory does not grow with traffic.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[Series, float] = {}
        self._gauges: dict[Series, float] = {}
        self._histograms: dict[Series, Distribution] = {}

    def count(self, metric: Metric, labels: Labels = (), *, by: float = 1) -> None:
        """Add to a counter; ValueError for labels that are not the metric's."""
        _check(metric, labels)
        series = metric, labels
        with self._lock:
            self._counters[series] = self._counters.get(series, 0) + by

    def set(self, metric: Metric, labels: Labels = (), *, to: float) -> None:
        """Let a gauge stand there from now on; ValueError for labels that are not the metric's."""
        _check(metric, labels)
        with self._lock:
            self._gauges[metric, labels] = to

    def observe(self, metric: Metric, labels: Labels = (), *, value: float) -> None:
        """One value more in a histogram; ValueError for labels that are not the metric's."""
        _check(metric, labels)
        if value - value != 0:  # infinite, or no number
            return
        series = metric, labels
        place = bisect_left(metric.buckets, value)
        with self._lock:
            found = self._histograms.get(series)
            if found is None:
                found = self._histograms[series] = Distribution.of(metric)
            found.counts[place] += 1
            found.sums[place] += value

    def keep(self, metric: Metric, is_there: Callable[[Labels], bool]) -> None:
        """Forget a gauge under those labels whose thing is gone."""
        with self._lock:
            for series in [one for one in self._gauges if one[0] is metric and not is_there(one[1])]:
                del self._gauges[series]

    def total(self, metric: Metric) -> float:
        """A counter over all of its labels."""
        with self._lock:
            return sum(value for (counter, _), value in self._counters.items() if counter is metric)

    def snapshot(self) -> Snapshot:
        """All of it as it stands."""
        with self._lock:
            return Snapshot(
                counters=self._counters.copy(),
                gauges=self._gauges.copy(),
                histograms={series: found.copy() for series, found in self._histograms.items()},
            )


def grown(now: Snapshot, before: Snapshot) -> Snapshot:
    """What came since `before`: counters and histograms that grew, by how much, and gauges as they stand now."""
    counters = {series: value - before.counters.get(series, 0) for series, value in now.counters.items()}
    histograms = {series: _grown(found, before.histograms.get(series)) for series, found in now.histograms.items()}
    return Snapshot(
        counters={series: by for series, by in counters.items() if by > 0},
        gauges=now.gauges,
        histograms={series: by for series, by in histograms.items() if by.count},
    )


def _grown(now: Distribution, before: Distribution | None) -> Distribution:
    if before is None:
        return now
    return Distribution(
        [new - old for new, old in zip(now.counts, before.counts, strict=True)],
        [new - old for new, old in zip(now.sums, before.sums, strict=True)],
    )


def _check(metric: Metric, labels: Labels) -> None:
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}")
