"""The table of metrics: what is recorded is in it, what is in it is recorded, and its names keep the rules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import metrics
from app.core.metrics import TABLE, Metric, MetricKind

ROOT = Path(__file__).parents[2]
CALLS = {"count": MetricKind.COUNTER, "set": MetricKind.GAUGE, "observe": MetricKind.HISTOGRAM}
NAMES = {name: value for name, value in vars(metrics).items() if isinstance(value, Metric)}
STAGES = {
    "service",
    "ingress",
    "decoder",
    "preprocessor",
    "detector",
    "tracker",
    "gpu",
    "process",
    "autoscaler",
}
LABELS = {
    "kind",
    "status",
    "reason",
    "code",
    "source",
    "model",
    "version",
    "batch",
    "engine",
    "outcome",
    "state",
    "device",
    "direction",
    "generation",
    "scaled",
    "count",
    "term",
    "verdict",
    "cause",
    "guard",
}
"""All of them have few values, and none that a user chooses. Models and versions are named by the operator."""


def recorded(source: str) -> Iterator[tuple[str, str]]:
    """The call and the constant of each line that records a metric."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=call), args=[ast.Attribute(value=ast.Name(id="table"), attr=name), *_]
            ):
                yield call, name


def sources() -> list[str]:
    return [
        file.read_text("utf-8")
        for folder in ("app", "engines", "deployments")
        for file in (ROOT / folder).rglob("*.py")
    ]


def wrong(source: str) -> list[str]:
    """Lines that record what is not in the table, or as what it is not."""
    return [
        f"{call} {name}"
        for call, name in recorded(source)
        if call in CALLS and (name not in NAMES or NAMES[name].kind is not CALLS[call])
    ]


def test_all_that_is_recorded_is_in_the_table_as_what_it_is() -> None:
    assert [line for source in sources() for line in wrong(source)] == []


def test_all_that_is_in_the_table_is_recorded() -> None:
    seen = {name for source in sources() for call, name in recorded(source) if call in CALLS}
    assert set(NAMES) - seen == set()


@pytest.mark.parametrize("planted", ["tally.count(table.DETECTOR_PIES)", "m.set(table.SERVICE_FRAMES, (), to=1)"])
def test_a_line_that_records_something_else_is_found_out(planted: str) -> None:
    assert wrong(planted)


def test_the_table_has_each_metric_once() -> None:
    assert len(TABLE) == len(NAMES)
    assert len({metric.name for metric in TABLE}) == len(TABLE)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_metric_keeps_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"sightline_[a-z]+_[a-z_]+", metric.name)
    assert metric.name.split("_")[1] in STAGES
    assert set(metric.labels) <= LABELS
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
