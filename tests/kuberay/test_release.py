"""Apply, wait and rollback against an API server that throttles, forgets, conflicts and lets tokens expire."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.core.errors import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from kuberay import release
from kuberay.api_server import ApiServer, connected
from tests.kuberay.good_service import good_manifests
from tests.servers.kubernetes_api import Cluster, kubernetes_api

KEY = ("rayservices", "sightline")
SERVING = {
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "UpgradeInProgress", "status": "False"}],
    "activeServiceStatus": {
        "rayClusterName": "sightline-abcde",
        "applicationStatuses": {"sightline": {"status": "RUNNING"}},
    },
}


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A kubeconfig as users have it, that leads to the server; the test may write another token into it."""
    with kubernetes_api() as (url, cluster):
        path = tmp_path / "config"

        def write(token: str) -> None:
            user = {"name": "u", "user": {"token": token}}
            contexts = [{"name": "c", "context": {"cluster": "k", "user": "u"}}]
            clusters = [{"name": "k", "cluster": {"server": url}}]
            text = {"current-context": "c", "contexts": contexts, "clusters": clusters, "users": [user]}
            path.write_text(yaml.safe_dump(text), encoding="utf-8")

        write("good")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield cluster


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def server(kubeconfig: Cluster, slept: list[float]) -> ApiServer:
    assert kubeconfig.objects == {}
    return ApiServer(connected(), namespace="video", sleep=slept.append)


def quiet(_words: str) -> None:
    pass


def test_everything_is_rehearsed_then_applied_in_order_with_progress(server: ApiServer, kubeconfig: Cluster) -> None:
    said: list[str] = []
    release.apply(server, good_manifests(), say=said.append)
    assert said == [
        "[1/3] RayService sightline",
        "[2/3] PodDisruptionBudget workers",
        "[3/3] NetworkPolicy closed",
    ]
    assert kubeconfig.objects[KEY]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] == 4
    patches = [one for one in kubeconfig.requests if one.startswith("PATCH")]
    assert ["dryRun=All" in one for one in patches] == [True, True, True, False, False, False, False]
    assert all("/namespaces/video/" in one for one in patches)


def test_nothing_is_applied_when_a_rehearsal_is_refused(server: ApiServer, kubeconfig: Cluster) -> None:
    kubeconfig.apply(
        ("networkpolicies", "closed"), good_manifests()[2], owner="argocd", force=False, is_rehearsal=False
    )
    changed = good_manifests()
    changed[2]["spec"]["podSelector"]["matchLabels"]["app"] = "other"
    with pytest.raises(ConflictError, match=r"NetworkPolicy closed: .*argocd.*podSelector"):
        release.apply(server, changed, say=quiet)
    assert set(kubeconfig.objects) == {("networkpolicies", "closed")}
    release.apply(server, changed, say=quiet, force=True)
    assert kubeconfig.objects["networkpolicies", "closed"]["spec"]["podSelector"]["matchLabels"]["app"] == "other"


def test_a_kind_that_the_server_does_not_know_is_said(server: ApiServer, slept: list[float]) -> None:
    foreign = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": {"name": "x"}, "spec": {}}
    with pytest.raises(UnavailableError, match=r"no PodMonitor of monitoring.coreos.com/v1.*CRD"):
        release.apply(server, [foreign], say=quiet)
    assert slept == []


def test_throttled_and_broken_answers_are_asked_again_as_late_as_they_say(
    server: ApiServer, kubeconfig: Cluster, slept: list[float]
) -> None:
    kubeconfig.planted = [(429, {"Retry-After": "3"}, {"message": "slow down"}), (503, {}, "not JSON"), (500, {}, {})]
    release.apply(server, good_manifests(), say=quiet)
    assert slept == [3.0, 1.0, 1.0]
    assert KEY in kubeconfig.objects


def test_a_server_that_throttles_for_good_is_given_up(server: ApiServer, kubeconfig: Cluster) -> None:
    kubeconfig.planted = [(429, {}, {"message": "slow down"})] * 9
    with pytest.raises(OverloadedError, match="slow down"):
        server.get("v1", "ConfigMap", "x")
    assert len(kubeconfig.planted) == 4


def test_a_token_that_expired_is_read_anew(server: ApiServer, kubeconfig: Cluster) -> None:
    server.get("v1", "ConfigMap", "x")
    kubeconfig.planted = [(401, {}, {"message": "Unauthorized"})]
    assert server.get("v1", "ConfigMap", "x") is None
    kubeconfig.token = "another"  # noqa: S105  of a server in this process
    with pytest.raises(UnauthenticatedError):
        server.get("v1", "ConfigMap", "x")


def after(delay_s: float, act: Any) -> threading.Timer:
    timer = threading.Timer(delay_s, act)
    timer.start()
    return timer


def test_waiting_tells_what_for_and_ends_when_all_of_it_serves(server: ApiServer, kubeconfig: Cluster) -> None:
    release.apply(server, good_manifests(), say=quiet)
    kubeconfig.set_status("sightline", observedGeneration=1, conditions=[{"type": "Ready", "status": "False"}])
    after(0.2, lambda: kubeconfig.set_status("sightline", **SERVING))
    said: list[str] = []
    release.wait(server, "sightline", timeout_s=20, say=said.append)
    assert said[0].startswith("waits for a cluster to become active")
    assert said[-1] == "done"


def test_a_watch_that_is_too_old_begins_anew(server: ApiServer, kubeconfig: Cluster) -> None:
    release.apply(server, good_manifests(), say=quiet)
    kubeconfig.oldest = 10**6
    after(0.2, lambda: (setattr(kubeconfig, "oldest", 0), kubeconfig.set_status("sightline", **SERVING)))
    release.wait(server, "sightline", timeout_s=20, say=quiet)
    assert any("watch=true" in one for one in kubeconfig.requests)


def test_waiting_ends_with_the_reason_when_it_never_will(server: ApiServer, kubeconfig: Cluster) -> None:
    release.apply(server, good_manifests(), say=quiet)
    conditions = [{"type": "Ready", "status": "False", "reason": "ValidationFailed", "message": "bad type"}]
    kubeconfig.set_status("sightline", observedGeneration=1, conditions=conditions)
    with pytest.raises(release.FailedError, match="ValidationFailed: bad type"):
        release.wait(server, "sightline", timeout_s=20, say=quiet)


def test_waiting_ends_when_the_time_is_over_or_the_service_is_deleted(server: ApiServer, kubeconfig: Cluster) -> None:
    release.apply(server, good_manifests(), say=quiet)
    begin_s = time.monotonic()
    with pytest.raises(DeadlineError, match=r"not within 1 s: waits for"):
        release.wait(server, "sightline", timeout_s=1, say=quiet)
    assert time.monotonic() - begin_s < 5
    after(0.2, lambda: kubeconfig.delete(KEY))
    with pytest.raises(NotFoundError, match=r"deleted|there is no"):
        release.wait(server, "sightline", timeout_s=20, say=quiet)


def test_rollback_applies_what_was_before_and_lets_go_of_a_pending_cluster(
    server: ApiServer, kubeconfig: Cluster
) -> None:
    with pytest.raises(NotFoundError, match="nothing was applied before"):
        release.roll_back(server, "sightline", say=quiet)
    release.apply(server, good_manifests(), say=quiet)
    changed = good_manifests()
    changed[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = 9
    release.apply(server, changed, say=quiet)
    release.apply(server, changed, say=quiet)  # the same once more is no step
    kubeconfig.set_status("sightline", **SERVING, pendingServiceStatus={"rayClusterName": "sightline-fghij"})
    said: list[str] = []
    release.roll_back(server, "sightline", say=said.append)
    assert kubeconfig.objects[KEY]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] == 4
    assert "pendingServiceStatus" not in kubeconfig.objects[KEY]["status"]
    assert said[-1] == "the pending cluster sightline-fghij is let go of"
    release.roll_back(server, "sightline", say=quiet)  # and forward again
    assert kubeconfig.objects[KEY]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] == 9


def test_a_first_cluster_that_is_pending_is_not_let_go_of(server: ApiServer, kubeconfig: Cluster) -> None:
    release.apply(server, good_manifests(), say=quiet)
    kubeconfig.set_status("sightline", pendingServiceStatus={"rayClusterName": "sightline-fghij"})
    release.end_pending(server, "sightline", say=quiet)
    assert "pendingServiceStatus" in kubeconfig.objects[KEY]["status"]


@pytest.mark.usefixtures("kubeconfig")
def test_the_command_applies_tells_the_status_and_the_logs(
    tmp_path: Path, kubeconfig: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.yaml").write_text(yaml.safe_dump_all(good_manifests()), encoding="utf-8")
    assert main(["cluster", "apply", str(tmp_path / "good.yaml"), "-n", "video"]) == 0
    assert main(["cluster", "status", "-n", "video"]) == 1
    assert "rollout      waits for" in capsys.readouterr().out
    kubeconfig.set_status("sightline", **SERVING)
    assert main(["cluster", "wait", "-n", "video"]) == 0
    assert main(["cluster", "status", "-n", "video"]) == 0
    assert "application sightline: RUNNING" in capsys.readouterr().out
    pod = {"metadata": {"name": "worker-1"}, "spec": {"containers": [{"name": "ray-worker"}]}}
    kubeconfig.store(("pods", "worker-1"), pod)
    kubeconfig.logs["worker-1"] = "one\ntwo\n"
    assert main(["cluster", "logs", "-n", "video"]) == 0
    assert capsys.readouterr().out == "worker-1  one\nworker-1  two\n"


def test_the_command_reads_the_nodes_of_the_cluster(kubeconfig: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    node = {"metadata": {"name": "a", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}
    kubeconfig.store(("nodes", "a"), node)
    assert main(["cluster", "nodes"]) == 0
    out, err = capsys.readouterr()
    assert "groupName: l4" in out
    assert err.startswith("NVIDIA-L4: 1 x nvidia.com/gpu")


def test_the_command_applies_nothing_that_has_a_problem(
    tmp_path: Path, kubeconfig: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = good_manifests()
    bad[0]["spec"]["upgradeStrategy"]["type"] = "NewClutser"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump_all(bad), encoding="utf-8")
    assert main(["cluster", "apply", str(tmp_path / "bad.yaml")]) == 1
    assert "spec.upgradeStrategy.type" in capsys.readouterr().out
    assert kubeconfig.objects == {}


def test_a_context_that_there_is_not_is_said(kubeconfig: Cluster) -> None:
    assert kubeconfig.objects == {}
    with pytest.raises(InvalidRequestError, match="no way to a cluster"):
        ApiServer(connected(context="nowhere"), namespace="default")


def test_nobody_there_is_said_after_a_few_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    text = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(text), encoding="utf-8")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    with pytest.raises(UnavailableError, match="cannot be reached"):
        ApiServer(connected(), namespace="default", sleep=slept.append).get("v1", "Pod", "x")
    assert len(slept) == 4
