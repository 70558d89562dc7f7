"""What every overlay hands to Serve, deployed by a real Serve of two nodes through the door that the operator uses."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

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

    def _ask(self, method: str, body: bytes | None = None) -> Any:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        request = urllib.request.Request(self._url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def put(self, config: dict[str, Any]) -> None:
        """Hand over a Serve configuration; the dashboard of a cluster that just started may need some tries."""
        until_s = time.monotonic() + 60
        while True:
            try:
                self._ask("PUT", json.dumps(config).encode())
            except (urllib.error.URLError, TimeoutError):
                assert time.monotonic() < until_s
                time.sleep(0.5)
            else:
                return

    def application(self) -> dict[str, Any]:
        """What is told of the application."""
        found: dict[str, Any] = self._ask("GET")["applications"]["sightline"]
        return found

    def is_running(self) -> bool:
        """Whether it runs; AssertionError with Serve's words when it never will."""
        application = self.application()
        assert application["status"] != "DEPLOY_FAILED", application["message"]
        return bool(application["status"] == "RUNNING")


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    dashboard = free_port()
    with two_nodes() as cluster:
        own = {**SERVE_ENVIRONMENT, "RAY_SERVE_ENABLE_HA_PROXY": "0"}  # two of them on one host would share files
        cluster.storage |= own
        for name, value in own.items():
            os.environ[name] = value
        try:
            gpus = f"--num-gpus={GPUS_PER_NODE}"
            cluster.start_head(gpus, "--include-dashboard=true", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.2")
            cluster.start_worker(gpus)
            yield Operator(cluster, port=dashboard)
        finally:
            for name in own:
                del os.environ[name]
