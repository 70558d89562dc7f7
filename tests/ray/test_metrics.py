"""The metrics of a real service, as Prometheus reads them, its spans, and its log lines."""

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.core import metrics as table
from app.core.metrics import Metric, MetricKind
from app.pipeline.tally import Tally
from deployments.metrics import replayed
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.service import Service, configuration, running

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
JPEG: Final = {"content-type": "image/jpeg"}
STILLS, PUSHED = 8, 4
CANARY: Final = "canary-7f3a"
"""What a user has sent; it may turn up in no metric, no span and no line of a log."""
TRACING: Final = {"enabled": True, "sampling_ratio": 1.0, "exporter_import_path": "deployments.tracing:processors"}
OTHERWISE: Final = frozenset(
    {
        table.DETECTOR_MISMATCHES,  # an engine that was given another model's pictures
        table.DETECTOR_LOAD_FAILURES,
        table.DETECTOR_SWAP,  # a version that was loaded later
        table.TRACKER_RECONNECTS,  # a camera
        table.GPU_NVLINK,  # a link that the fake has not
        table.AUTOSCALER_REPLICAS,  # a number of replicas that is not fixed
        table.AUTOSCALER_TERM,
        table.AUTOSCALER_DECISIONS,
    }
)
"""What this run does not bring about."""
OF_EACH_FRAME: Final = (table.DECODER_SECONDS, table.PREPROCESSOR_SECONDS, table.DETECTOR_WAIT)
SAMPLE: Final = re.compile(r"(?P<name>[a-zA-Z_:]+)\{(?P<labels>.*)\} (?P<value>\S+)")


@dataclass(frozen=True)
class Scrape:
    """What Prometheus would read."""

    text: str

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        matches = (SAMPLE.fullmatch(line) for line in self.text.splitlines())
        return sum(
            float(match["value"])
            for match in matches
            if match and match["name"] == name and labels.items() <= labels_of(match["labels"]).items()
        )

    def has(self, metric: Metric) -> bool:
        suffix = "_count" if metric.kind is MetricKind.HISTOGRAM else ""
        return f"\n{metric.prometheus_name}{suffix}{{" in self.text


def labels_of(written: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', written))


@dataclass(frozen=True)
class Run:
    """A service that has answered what it was sent, and what it then shows."""

    scrape: Scrape
    spans: list[dict[str, Any]]
    lines: list[dict[str, Any]]


def arguments(service: Service) -> str:
    """The command lines of its processes."""
    files = [Path(f"/proc/{pid}/cmdline") for pid in service.processes()]
    return " ".join(file.read_text(errors="replace").replace("\0", " ") for file in files if file.exists())


def scraped(port: int, *, frames: int) -> Scrape:
    """What is exported once every process has told of all those frames; the last of it where that does not come.

    Each tells at a moment of its own, within some seconds.
    """
    until_s = time.monotonic() + 25
    while True:
        scrape = Scrape(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
        ended = sum(scrape.total(table.SERVICE_FRAMES.prometheus_name, kind=kind) for kind in ("still", "stream"))
        answered = scrape.total(table.SERVICE_FRAMES.prometheus_name, status="result")
        seen = [scrape.total(f"{metric.prometheus_name}_count") for metric in OF_EACH_FRAME]
        if (ended >= frames and min(seen) >= answered) or time.monotonic() > until_s:
            return scrape
        time.sleep(0.5)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    camera = Camera(width_px=640, height_px=360, fps=10.0, stream=1)
    photo = encode_jpeg(next(iter(render(Scene(seed=21), camera, frames=1))).rgb, quality=90)
    config = configuration(model={"engine": "fake-gpu"})
    with running({**config, "tracing_config": TRACING}) as service:
        with httpx.Client(base_url=service.url, timeout=60, headers={"x-request-id": CANARY}) as client:
            for number in range(STILLS):
                trace = {"traceparent": f"00-{number + 1:032x}-00000000000000aa-01"}
                client.post(f"/v1/detections?conf=0.5&{CANARY}=1", content=photo, headers={**JPEG, **trace})
            client.post("/v1/detections", content=photo[:3000], headers=JPEG)
            stream = client.post("/v1/streams", json={"label": CANARY}).json()["stream_id"]
            for _ in range(PUSHED):
                client.post(f"/v1/streams/{stream}/frames", content=photo, headers=JPEG)
        said = arguments(service)
        port = re.search(r"--metrics-export-port=(\d+)", said)
        folder = re.search(r"--temp-dir=(\S+)", said)
        assert port
        assert folder
        scrape = scraped(int(port[1]), frames=STILLS + PUSHED + 1)
        logs = Path(folder[1]) / "session_latest" / "logs" / "serve"
        yield Run(
            scrape,
            spans=[line for file in logs.glob("spans/*.jsonl") for line in parsed(file)],
            lines=[line for file in logs.glob("replica_*.log") for line in parsed(file)],
        )


def parsed(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_every_frame_is_counted_once_by_its_end(run: Run) -> None:
    name = table.SERVICE_FRAMES.prometheus_name
    assert run.scrape.total(name, kind="still", status="result") == STILLS
    assert run.scrape.total(name, kind="still", status="error", reason="undecodable") == 1
    assert run.scrape.total(name, kind="stream") == run.scrape.total(name, kind="stream", status="result") == PUSHED
    assert run.scrape.total(table.INGRESS_PROBLEMS.prometheus_name, code="undecodable") == 1


@pytest.mark.parametrize("metric", [one for one in table.TABLE if one not in OTHERWISE], ids=lambda one: one.name)
def test_the_metric_is_exported(run: Run, metric: Metric) -> None:
    assert run.scrape.has(metric)


def test_stages_agree_on_how_much_they_did(run: Run) -> None:
    """A probe goes through the stages too: each has answered as many as all frames that were answered."""
    answered = run.scrape.total(table.SERVICE_FRAMES.prometheus_name, status="result")
    assert run.scrape.total(table.DETECTOR_FRAMES.prometheus_name) == answered
    for metric in OF_EACH_FRAME:
        assert run.scrape.total(f"{metric.prometheus_name}_count") == answered
    assert run.scrape.total(f"{table.TRACKER_SECONDS.prometheus_name}_count", kind="stream") == PUSHED


def test_gpu_readings_are_those_of_the_device(run: Run) -> None:
    used = run.scrape.total(table.GPU_VRAM_USED.prometheus_name)
    assert 256 * 1024**2 <= used < run.scrape.total(table.GPU_VRAM_TOTAL.prometheus_name) == 16 * 1024**3


def test_a_request_and_its_stages_share_a_trace(run: Run) -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for span in run.spans:
        names[span["trace_id"]].add(span["name"])
    for number in range(STILLS):
        seen = names[f"{number + 1:032x}"]
        assert {f"replica_handle_request {stage}" for stage in ("Decoder decode", "Detector detect")} <= seen
        assert "replica_handle_request Ingress __call__" in seen


def test_our_log_lines_are_written_as_serves_are(run: Run) -> None:
    ours = [line for line in run.lines if "is ready on" in line["message"]]
    assert Counter(line["deployment"] for line in ours) == {"sightline_Detector": 1}


def test_nothing_that_a_user_sent_is_to_be_seen(run: Run) -> None:
    assert CANARY not in run.scrape.text
    assert CANARY not in json.dumps(run.spans)
    assert CANARY not in json.dumps([line["message"] for line in run.lines])


def test_what_ray_is_told_lies_in_the_bucket_it_was_counted_in() -> None:
    tally = Tally()
    for value in (0.0005, 0.0005, 0.003, 0.0021, 99.0):
        tally.observe(table.DETECTOR_WAIT, ("street", "1.0.0"), value=value)
    found = tally.snapshot().histograms[table.DETECTOR_WAIT, ("street", "1.0.0")]
    told = replayed(found, table.DETECTOR_WAIT)
    assert told == [(0.0005, 2), (pytest.approx(0.00255), 2), (99.0, 1)]
