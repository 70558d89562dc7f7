"""What this process has counted as metrics of Ray, which its agent on each node shows to Prometheus."""

import math
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

from app.core.gpu import GpuMeter
from app.core.metrics import TABLE, Metric, MetricKind
from app.pipeline.sampler import Sampler, TelemetryParameters
from app.pipeline.tally import Distribution, Series, Snapshot, Tally, grown


class RayMetrics:
    """Publishes snapshots: call it with a newer one each time.

    A value in one of Ray's histograms takes 3.6 µs of processor, and one in the tally 0.5 (two-core machine,
    2026-11-23): so frames pay for the tally alone, and Ray is told of them all together, on the sampler's thread. Each
    value is then the mean of those in its bucket. Buckets and count come out at Prometheus as they were. Ray's agent
    makes up the sum from the middles of the buckets, so that a mean from `_sum` is a guess: take quantiles.
    """

    def __init__(self) -> None:
        self._before = Snapshot()
        self._counters = {
            one: Counter(one.name, one.help, _keys(one)) for one in TABLE if one.kind is MetricKind.COUNTER
        }
        self._gauges = {one: Gauge(one.name, one.help, _keys(one)) for one in TABLE if one.kind is MetricKind.GAUGE}
        self._histograms = {
            one: Histogram(one.name, one.help, list(one.buckets), _keys(one))
            for one in TABLE
            if one.kind is MetricKind.HISTOGRAM
        }

    def __call__(self, now: Snapshot) -> None:
        """Tell Ray what came since the last call."""
        before, self._before = self._before, now  # first: what fails below is not told twice
        since = grown(now, before)
        for series, by in since.counters.items():
            self._counters[series[0]].inc(by, tags=_tags(series))
        for series, to in since.gauges.items():
            self._gauges[series[0]].set(to, tags=_tags(series))
        for series in before.gauges.keys() - now.gauges.keys():
            self._gauges[series[0]].set(0, tags=_tags(series))  # Ray would show the last value for ever
        for series, found in since.histograms.items():
            histogram, tags = self._histograms[series[0]], _tags(series)
            for value, count in replayed(found, series[0]):
                for _ in range(count):
                    histogram.observe(value, tags=tags)


def replayed(found: Distribution, metric: Metric) -> list[tuple[float, int]]:
    """A value for each bucket that is not empty, and how often it is to be told: the mean of those that lay there."""
    bounds = (-math.inf, *metric.buckets, math.inf)
    return [
        (min(max(total / count, math.nextafter(bounds[place], math.inf)), bounds[place + 1]), count)
        for place, (count, total) in enumerate(zip(found.counts, found.sums, strict=True))
        if count
    ]


def sampler_of(tally: Tally, parameters: TelemetryParameters, *, meter: GpuMeter | None = None) -> Sampler:
    """A running sampler that publishes what is in the tally."""
    sampler = Sampler(tally, publish=RayMetrics(), meter=meter, parameters=parameters)
    sampler.start()
    return sampler


def _keys(metric: Metric) -> Any:  # Ray says tuple[str] and means any number of them
    return metric.labels


def _tags(series: Series) -> dict[str, str]:
    metric, labels = series
    return dict(zip(metric.labels, labels, strict=True))
