"""One Ray cluster for the tests of single Ray parts, with the test process as its driver.

Run as a program it is that cluster, until it is terminated: so all of its processes are below one of ours.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray._private.authentication_test_utils import reset_auth_token_state
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeDeploySchema

from deployments.local_cluster import _PR_SET_CHILD_SUBREAPER, LocalService, _listens, _ray_arguments, free_port

ROOT = Path(__file__).resolve().parent.parent
DRIVER_NEEDS = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_SERVE_ENABLE_HA_PROXY")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster with Serve on it in HAProxy mode; applications answer at `url`."""

    url: str

    def deploy(self, import_path: str, *, replicas: dict[str, int], **args: str) -> DeploymentHandle[Any]:
        """Put this application in the place of the one before, as `serve deploy` does, and wait until it runs."""
        deployments = [{"name": name, "num_replicas": count} for name, count in replicas.items()]
        application = {"name": "app", "route_prefix": "/", "import_path": import_path, "args": args}
        config = {"applications": [{**application, "deployments": deployments}]}
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config), _blocking=True)
        return serve.get_app_handle("app")


@contextlib.contextmanager
def running_cluster(**environment: str) -> Iterator[Cluster]:
    """A fresh cluster, whose processes get `environment` as well; gone at the end."""
    before = dict(os.environ)
    command = [sys.executable, "-m", "tests.small_cluster", json.dumps(environment)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdout is not None
        try:
            os.environ.update(json.loads(cluster.stdout.readline()))
            reset_auth_token_state()  # Ray reads RAY_AUTH_MODE once, when somebody first imports it
            port = free_port()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Ray's own
                ray.init(log_to_driver=False, configure_logging=False, namespace="tests")
                serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield Cluster(f"http://127.0.0.1:{port}")
        finally:
            ray.shutdown()
            cluster.send_signal(signal.SIGTERM)
            cluster.wait(timeout=30)
            os.environ.clear()
            os.environ.update(before)
            reset_auth_token_state()


def _main(environment: dict[str, str]) -> None:
    """Prints what a driver needs in its environment, as one line of JSON, once the cluster is up."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    service = LocalService({}, environment=environment)
    service.folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
    port = free_port()
    everything = {**service._environment(), "RAY_ADDRESS": f"127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
    try:
        service._spawn("ray", *_ray_arguments(service.folder, gcs_port=port), environment=everything)
        service._until(lambda: _listens(port), deadline_s=time.monotonic() + 60, what="Ray")
        print(json.dumps({name: everything[name] for name in DRIVER_NEEDS}), flush=True)  # noqa: T201
        signal.pause()
    finally:
        service.stop()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
