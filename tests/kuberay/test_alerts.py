"""Every alert fires when it should and only then, by Prometheus' own judgement; every metric it names exists."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.metrics import TABLE, MetricKind
from kuberay.dashboards import DASHBOARDS, DCGM, FOLDER, dashboard, text
from kuberay.manifest import entries
from kuberay.runbook import ALERTS, PAGES, alerts, page
from tests.kuberay.alert_cases import CASES, STEP_S
from tests.servers.prometheus import promtool

RULES = {rule["alert"]: rule for rule in alerts()}
FOREIGN = {"kuberay_service_condition_ready", "kuberay_service_condition_upgrade_in_progress", *DCGM}
"""Of KubeRay's operator and of NVIDIA's exporter, as they are called there."""
URGENT = {name for name, rule in RULES.items() if rule["labels"]["severity"] == "critical"}
_NAME = re.compile(r"\b(?:ray_sightline|kuberay|DCGM)_\w+")


def exported() -> set[str]:
    """What Prometheus knows of our table."""
    names = set()
    for metric in TABLE:
        own = metric.prometheus_name
        names |= (
            {f"{own}_{end}" for end in ("bucket", "sum", "count")} if metric.kind is MetricKind.HISTOGRAM else {own}
        )
    return names


def unknown(expression: str) -> set[str]:
    return set(_NAME.findall(expression)) - exported() - FOREIGN


@pytest.mark.parametrize("name", RULES)
def test_an_alert_names_only_metrics_that_there_are(name: str) -> None:
    assert _NAME.search(RULES[name]["expr"])
    assert unknown(RULES[name]["expr"]) == set()


def test_a_metric_that_there_is_not_is_found() -> None:
    assert unknown("rate(ray_sightline_service_frame_total[1m])") == {"ray_sightline_service_frame_total"}


@pytest.mark.parametrize("name", RULES)
def test_each_alert_has_its_page(name: str) -> None:
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == page(RULES[name])
    assert RULES[name]["labels"]["priority"] in {"P0", "P1", "P2"}


def test_there_is_no_page_and_no_case_without_an_alert() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(RULES) == set(CASES)


def _tests(name: str, rules: Path) -> dict[str, Any]:
    case = CASES[name]
    annotations = RULES[name]["annotations"]

    def series(given: dict[str, str]) -> list[dict[str, str]]:
        return [{"series": key, "values": value} for key, value in given.items()]

    def asked(at: str, *, fires: bool) -> dict[str, Any]:
        labels = {**RULES[name]["labels"]}
        return {
            "eval_time": at,
            "alertname": name,
            "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}] * fires,
        }

    quiet = [asked(at, fires=False) for at in (case.before, case.at)]
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{STEP_S}s",
        "tests": [
            {"interval": f"{STEP_S}s", "input_series": series(case.quiet), "alert_rule_test": quiet},
            {
                "interval": f"{STEP_S}s",
                "input_series": series(case.fires),
                "alert_rule_test": [quiet[0]],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) > bool 0',
                        "eval_time": case.at,
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            },
        ],
    }


def judged(folder: Path, names: list[str], *, change: tuple[str, str] = ("", "")) -> subprocess.CompletedProcess[str]:
    """What promtool says of the cases, with the rules changed."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8").replace(*change))["spec"]["groups"]
    rules = folder / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    files = []
    for name in names:
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(_tests(name, rules)), encoding="utf-8")
    return subprocess.run([promtool(), "test", "rules", *map(str, files)], capture_output=True, text=True, check=False)


def test_every_alert_fires_in_its_case_and_not_in_the_near_one(tmp_path: Path) -> None:
    done = judged(tmp_path, list(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("SightlineVramHigh", ("> 0.92", "> 0.95")),
        ("SightlineVramHigh", ("> 0.92", "> 0.9")),
        ("SightlineNotReady", ("for: 5m", "for: 6m")),
        ("SightlineErrors", ('kind!="probe", ', "")),
        ("SightlineGpuXid", ("ERRORS > 0", "ERRORS >= 0")),
    ],
)
def test_a_rule_that_is_wrong_is_found(name: str, change: tuple[str, str], tmp_path: Path) -> None:
    assert change[0] in ALERTS.read_text(encoding="utf-8")
    assert judged(tmp_path, [name], change=change).returncode != 0


def test_what_fails_now_is_told_within_fifteen_seconds() -> None:
    """Those of which the state itself is the alarm; the others wait for what they are about, a time of failing."""
    assert {name for name in URGENT if RULES[name].get("for", "0s") in {"0s", "5s"}} == URGENT - {
        "SightlineNotReady",
        "SightlineNoFrames",
    }
    manifest = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    assert {group["interval"] for group in entries(manifest["spec"]["groups"])} == {"5s"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_made_from_the_table(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(name)
    queries = [target["expr"] for panel in dashboard(name)["panels"] for target in panel["targets"]]
    assert queries
    assert [query for query in queries if unknown(query) or not _NAME.search(query)] == []


def test_every_metric_is_on_some_dashboard() -> None:
    shown = json.dumps([dashboard(name) for name in DASHBOARDS])
    assert [metric.name for metric in TABLE if metric.prometheus_name not in shown] == []


def test_prometheus_reads_every_query_of_the_dashboards(tmp_path: Path) -> None:
    queries = {
        target["expr"].replace("$__rate_interval", "1m")
        for name in DASHBOARDS
        for panel in dashboard(name)["panels"]
        for target in panel["targets"]
    }
    rules = [{"record": f"panel:{index}", "expr": query} for index, query in enumerate(sorted(queries))]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", str(tmp_path / "panels.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
