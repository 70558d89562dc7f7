"""What every overlay hands to Serve, deployed by a real Serve of two nodes through the door that the operator uses."""

import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from deployments.local_cluster import SERVE_ENVIRONMENT, free_port
from kuberay.serve_patches import serve_config
from tests.two_nodes import HEAD_IP, TwoNodes, two_nodes, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
GPUS_PER_NODE = 4
"""As Ray counts them: nothing here computes on one."""
UP_S = 150.0


class Operator:
    """Speaks to the dashboard as KubeRay's operator does."""

    def __init__(self, cluster: TwoNodes, *, port: int) -> None:
        self._url = f"http://{HEAD_IP}:{port}/api/serve/applications/"
        self._token = (cluster.folder / "token").read_text(encoding="ascii")

    def ask(self, method: str, body: dict[str, Any] | None = None) -> Any:
        """The answer; HTTPStatusError for a refusal."""
        headers = {"authorization": f"Bearer {self._token}"}
        answer = httpx.request(method, self._url, json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json() if method == "GET" else None

    def put(self, config: dict[str, Any]) -> None:
        """Hand over a Serve configuration; the dashboard of a cluster that just started may need some tries."""
        until_s = time.monotonic() + 60
        while True:
            try:
                self.ask("PUT", config)
            except httpx.TransportError:
                assert time.monotonic() < until_s
                time.sleep(0.5)
            else:
                return

    def application(self) -> dict[str, Any]:
        """What is told of the application."""
        found: dict[str, Any] = self.ask("GET")["applications"]["sightline"]
        return found

    def is_running(self, overlay: str, ports: tuple[int, int]) -> bool:
        """Whether it runs as that overlay has it; AssertionError with Serve's words when it never will."""
        application = self.application()
        assert application["status"] != "DEPLOY_FAILED", application["message"]
        deployed = application["deployed_app_config"]["deployments"] if application["deployed_app_config"] else None
        return deployed == here(overlay, ports)["applications"][0]["deployments"] and application["status"] == "RUNNING"


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    dashboard = free_port()
    with pytest.MonkeyPatch.context() as patched, two_nodes() as cluster:
        for name, value in SERVE_ENVIRONMENT.items():
            patched.setenv(name, value)
        patched.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")  # two of them on one host would share their files
        sizes = (f"--num-gpus={GPUS_PER_NODE}", "--num-cpus=6")
        place = (f"--dashboard-port={dashboard}", f"--dashboard-host={HEAD_IP}", "--include-dashboard=true")
        head = cluster.start_head(*sizes, *place)
        until(lambda: bool(head.pids("raylet")))
        cluster.start_worker(*sizes)
        yield Operator(cluster, port=dashboard)


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Serve takes its doors once, at its start."""
    return free_port(), free_port()


def here(overlay: str, ports: tuple[int, int]) -> dict[str, Any]:
    """What the overlay deploys, on loopback and free ports."""
    config = serve_config(overlay)
    config["http_options"] = {"host": "127.0.0.1", "port": ports[0]}
    config["grpc_options"]["port"] = ports[1]
    return config


@pytest.mark.parametrize(
    "overlay", ["gpu-ha", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("cpu", "gpu", "mig", "canary"))]
)
def test_what_an_overlay_deploys_comes_up_and_answers(operator: Operator, ports: tuple[int, int], overlay: str) -> None:
    operator.put(here(overlay, ports))
    until(lambda: operator.is_running(overlay, ports), within_s=UP_S)
    found = operator.application()["deployments"]
    for wanted in serve_config(overlay)["applications"][0]["deployments"]:
        replicas = found[wanted["name"]]["replicas"]
        assert len(replicas) == wanted["num_replicas"]
        if "max_replicas_per_node" in wanted:
            assert len({replica["node_id"] for replica in replicas}) == len(replicas)
    for path in ("/readyz", "/-/healthz"):
        assert httpx.get(f"http://127.0.0.1:{ports[0]}{path}", timeout=20).status_code == HTTPStatus.OK


def test_a_configuration_that_serve_refuses_is_told(operator: Operator, ports: tuple[int, int]) -> None:
    config = here("gpu-ha", ports)
    config["applications"][0]["deployments"][0]["num_replicas"] = -3
    with pytest.raises(httpx.HTTPStatusError):
        operator.ask("PUT", config)
