"""Grafana's dashboards, made from the table of metrics, so that no panel shows a metric that there is not.

`python -m kuberay.dashboards` writes them; a test holds them to this.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.core.metrics import TABLE, Metric, MetricKind

FOLDER = Path(__file__).resolve().parent / "components" / "monitoring" / "dashboards"
DASHBOARDS: Mapping[str, tuple[str, ...]] = {
    "service": ("service", "ingress", "decoder", "preprocessor", "process"),
    "streams": ("tracker",),
    "gpu": ("gpu", "detector"),
    "autoscaler": ("autoscaler",),
}
"""Which dashboard shows which stages; the stage is the first word of a metric's name behind `sightline_`."""
DCGM: Mapping[str, tuple[str, str]] = {
    "DCGM_FI_DEV_FB_USED": ("Memory in use, by DCGM", "decmbytes"),
    "DCGM_FI_DEV_DEC_UTIL": ("Video decoder, by DCGM", "percent"),
    "DCGM_FI_PROF_PCIE_RX_BYTES": (
        "To the GPU over PCIe, by DCGM",
        "Bps",
    ),  # a gauge of bytes per second, not a counter
    "DCGM_FI_PROF_PCIE_TX_BYTES": ("From the GPU over PCIe, by DCGM", "Bps"),
    "DCGM_FI_DEV_XID_ERRORS": ("Last XID, by DCGM", "none"),
}
_UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit", "bytes/s": "Bps"}
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 7
_RATE = "$__rate_interval"


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana's provisioning reads it; KeyError for a name that there is not."""
    stages = DASHBOARDS[name]
    panels = [_panel(metric) for metric in TABLE if _stage(metric) in stages]
    if name == "gpu":
        panels += [_foreign(metric, title, unit) for metric, (title, unit) in DCGM.items()]
    for index, panel in enumerate(panels):
        row, column = divmod(index, _COLUMNS)
        panel["id"] = index + 1
        panel["gridPos"] = {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    return {
        "uid": f"sightline-{name}",
        "title": f"Sightline: {name}",
        "tags": ["sightline"],
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_SOURCE]},
        "panels": panels,
    }


def text(name: str) -> str:
    """Return the file of a dashboard."""
    return json.dumps(dashboard(name), indent=1) + "\n"


_SOURCE = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _stage(metric: Metric) -> str:
    return metric.name.split("_")[1]


def _queries(metric: Metric) -> Iterator[tuple[str, str]]:
    """Yield each query of a metric, and what its lines are called."""
    name, legend = metric.prometheus_name, " ".join(f"{{{{{label}}}}}" for label in metric.labels)
    by = ", ".join(metric.labels)
    match metric.kind:
        case MetricKind.COUNTER:
            yield f"sum by ({by}) (rate({name}[{_RATE}]))", legend
        case MetricKind.GAUGE:
            adds_up = metric.unit not in {"ratio", "state"} and _stage(metric) not in {"gpu", "process", "autoscaler"}
            how = "sum" if adds_up else "max"
            yield f"{how} by ({by or 'instance'}) ({name})", legend or "{{instance}}"
        case MetricKind.HISTOGRAM:
            grouped = ", ".join(("le", *metric.labels))
            for quantile in (0.5, 0.95, 0.99):
                inner = f"sum by ({grouped}) (rate({name}_bucket[{_RATE}]))"
                yield f"histogram_quantile({quantile}, {inner})", f"p{quantile * 100:g} {legend}".rstrip()


def _panel(metric: Metric) -> dict[str, Any]:
    is_rate = metric.kind is MetricKind.COUNTER
    unit = (
        {"bytes": "Bps", "seconds": "percentunit"}.get(metric.unit, "cps")
        if is_rate
        else _UNITS.get(metric.unit, "short")
    )
    title = metric.name.removeprefix("sightline_").replace("_", " ")
    return _graph(title, metric.help, unit, list(_queries(metric)))


def _foreign(metric: str, title: str, unit: str) -> dict[str, Any]:
    return _graph(title, metric, unit, [(metric, "{{Hostname}} {{gpu}}")])


def _graph(title: str, description: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(queries)
        ],
    }


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(text(each), encoding="utf-8")
