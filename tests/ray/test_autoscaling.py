"""A real Serve that makes three Detectors of one and one of three, by the load; the GPUs are logical and faked."""

import contextlib
import copy
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ray
import yaml
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from app.settings import ROOT
from app.vision.example import example_jpeg
from tests.small_cluster import Cluster

pytest_plugins = ("tests.ray_fixtures", "tests.logical_gpus")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.ray,
    pytest.mark.timeout(300),
    # Ray says that environment variables will take the place of this field, and reads none of them yet.
    pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning"),
]
TARGET_QPS = 1.0
OFFERED_HZ = 6.0
"""Six times the target of one Detector: a score of 2.4, which three hold at 0.8."""


def configuration(**knobs: float | bool) -> dict[str, Any]:
    """deployments/autoscaled.yaml on a fake GPU each, small, and with these knobs in the Detector's `user_config`."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "deployments/autoscaled.yaml").read_text("utf-8"))
    application = copy.deepcopy(config["applications"][0])
    application["args"]["model"]["engine"] = "fake-gpu"
    application["autoscaling_policy"]["policy_kwargs"] = {"target_qps": TARGET_QPS}
    for deployment in application["deployments"]:
        deployment["ray_actor_options"]["num_cpus"] = 0.1
        if deployment["name"] == "Detector":
            deployment["ray_actor_options"]["num_gpus"] = 1
            deployment["autoscaling_config"]["max_replicas"] = 3
            deployment["user_config"] = {"autoscaling": knobs}
    return {"applications": [application]}


def deploy(**knobs: float | bool) -> None:
    config = ServeDeploySchema.model_validate(configuration(**knobs))
    _get_global_client().deploy_apps(config, _blocking=True)


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310  loopback
        text: str = answer.read().decode()
    return text


def explained(cluster: Cluster) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(fetched(f"{cluster.url}/v1/autoscaling/explain"))
    return document


def until(cluster: Cluster, holds: Callable[[dict[str, Any]], bool], *, deadline_s: float) -> dict[str, Any]:
    """The first document for which it holds."""
    end_s = time.monotonic() + deadline_s
    while not holds(document := explained(cluster)):
        assert time.monotonic() < end_s, document
        time.sleep(0.2)
    return document


def detectors() -> set[int]:
    """The process ids of the Detectors that run."""
    details = _get_global_client().get_serve_details()
    replicas = details["applications"]["sightline"]["deployments"]["Detector"]["replicas"]
    return {replica["pid"] for replica in replicas if replica["state"] == "RUNNING"}


@contextlib.contextmanager
def load(cluster: Cluster) -> Iterator[None]:
    """Pictures that come at their own pace, answered or not."""
    picture = example_jpeg(width_px=64, height_px=64)
    is_over = threading.Event()
    request = urllib.request.Request(  # noqa: S310  our own loopback
        f"{cluster.url}/v1/detections", data=picture, headers={"content-type": "image/jpeg"}
    )

    def send() -> None:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            answer.read()

    def offer(senders: ThreadPoolExecutor) -> None:
        while not is_over.wait(1 / OFFERED_HZ):
            senders.submit(send)

    with ThreadPoolExecutor(32) as senders:
        offering = threading.Thread(target=offer, args=(senders,))
        offering.start()
        try:
            yield
        finally:
            is_over.set()
            offering.join()


@pytest.fixture(scope="module")
def scaled(small_cluster: Cluster) -> Cluster:
    """The service, in dry run."""
    deploy(dry_run=True, in_cooldown_s=5.0)
    return small_cluster


def test_one_detector_becomes_three_and_one_again(scaled: Cluster) -> None:
    [first] = detectors()
    with load(scaled):
        tried = until(scaled, lambda told: told.get("replicas") == 3, deadline_s=20)
        assert (tried["dry_run"], tried["ordered"], tried["verdict"]) == (True, 1, "out")
        assert sum(term["term"] for term in tried["terms"]) == pytest.approx(tried["score"])
        assert detectors() == {first}, "a dry run acts"

        deploy(dry_run=False, in_cooldown_s=5.0)
        until(scaled, lambda told: told["ordered"] == 3, deadline_s=20)
        spread = until(scaled, lambda told: told["running"] == 3, deadline_s=90)
        assert first in detectors(), "new knobs replace nobody"
        assert len(detectors()) == 3
        assert spread["score"] < tried["score"]
        assert spread["signals"]["vram_used"] > 0, "the fake GPU tells its memory"
        assert set(spread["stages"]) == {"Decoder", "Preprocessor", "Tracker"}
        assert spread["stages"]["Decoder"]["cost_s"] > 0
    until(scaled, lambda told: told["running"] == told["ordered"] == 1, deadline_s=60)


def test_the_terms_of_the_decisions_are_metrics(scaled: Cluster) -> None:
    """Prometheus finds them at the node's agent, within some seconds."""
    port = ray.nodes()[0]["MetricsExportPort"]
    deadline_s = time.monotonic() + 40
    while "ray_sightline_autoscaler_term_ratio{" not in (found := fetched(f"http://127.0.0.1:{port}/metrics")):
        assert time.monotonic() < deadline_s, "no term is there"
        time.sleep(1)
    assert "ray_sightline_autoscaler_decisions_total{" in found
    assert explained(scaled)["enabled"]
