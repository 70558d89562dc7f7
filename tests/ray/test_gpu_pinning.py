"""Which GPUs a replica sees, on a real cluster that says it has four."""

import time
from typing import Any

import pytest
from ray.serve.handle import DeploymentHandle

from deployments.accelerators import actor_options
from tests.small_cluster import Cluster

pytest_plugins = ("tests.ray_fixtures", "tests.logical_gpus")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def caller(small_cluster: Cluster) -> DeploymentHandle[Any]:
    return small_cluster.deploy("tests.pinned:build", replicas={})


def devices(caller: DeploymentHandle[Any], kind: str) -> list[str]:
    """What the two replicas of a kind see, each once."""
    seen: dict[int, str] = {}
    deadline_s = time.monotonic() + 30
    while len(seen) < 2:
        assert time.monotonic() < deadline_s, "not both replicas answer"
        pid, visible = caller.who.remote(kind).result(timeout_s=20)
        seen[pid] = visible
    return sorted(seen.values())


def test_two_detectors_with_a_gpu_each_see_one_each_and_not_the_same(caller: DeploymentHandle[Any]) -> None:
    first, second = devices(caller, "Whole")
    assert {first, second} < {"0", "1", "2", "3"}
    assert first != second


def test_two_detectors_with_half_a_gpu_share_one(caller: DeploymentHandle[Any]) -> None:
    first, second = devices(caller, "Half")
    assert first == second
    assert first not in devices(caller, "Whole")


def test_a_detector_without_a_gpu_sees_none(caller: DeploymentHandle[Any]) -> None:
    assert devices(caller, "Blind") == ["", ""]


@pytest.mark.parametrize("num_gpus", [-1.0, 1.5])
def test_what_ray_cannot_place_is_refused(num_gpus: float) -> None:
    with pytest.raises(ValueError, match="a fraction of one GPU or whole ones"):
        actor_options(num_gpus)
