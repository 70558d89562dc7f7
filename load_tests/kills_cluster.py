"""A cluster for the scenario `kills`: a head without replicas, two nodes that serve, and Redis for the head's records.

As the `gpu-ha` overlay has it, in machines of `load_tests.machines` in place of pods.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from app.core.heap import HEAP_ENVIRONMENT
from app.settings import ROOT
from load_tests.machines import OWN_IP, Machine, machines

HEAD: Final = "head"
NODES: Final = ("one", "two")
GCS_PORT, HTTP_PORT, _REDIS_PORT = 6379, 8000, 6380
_REDIS = f"{OWN_IP}:{_REDIS_PORT}"
_OBJECT_STORE_BYTES = 128 * 1024**2
_START_S = 240.0
_DOCKERFILE = ROOT / "kuberay" / "image" / "Dockerfile"
_TUNED = "RAY_SERVE_PROXY_HEALTH_CHECK_"


def environment_of_pods(*, tuned: bool) -> dict[str, str]:
    """What the image starts Serve with; not `tuned`, without what makes it notice dead proxies sooner."""
    text = _DOCKERFILE.read_text(encoding="utf-8")
    given = dict(re.findall(r"(RAY_(?:SERVE_\w+|worker_niceness))=(\S+)", text))
    return {
        name: value
        for name, value in given.items()
        if name != "RAY_SERVE_HAPROXY_BINARY_PATH" and (tuned or not name.startswith(_TUNED))
    }


class Cluster:
    """Its machines are on; `start` makes a cluster of them."""

    def __init__(self, own: Mapping[str, Machine], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.head, self.nodes = own[HEAD], [own[name] for name in NODES]
        self._folder = folder
        self._ray: dict[str, subprocess.Popen[bytes]] = {}
        token = folder / "token"
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": f"{self.head.ip}:{GCS_PORT}",
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "deployments" / "haproxy.py"),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "own" / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "own" / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder / "own"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "own" / "server-state"),
            **HEAP_ENVIRONMENT,
            **environment,
        }

    def start_head(self) -> None:
        """The head, with its records in Redis."""
        environment = {
            **self._environment,
            "RAY_REDIS_ADDRESS": _REDIS,
            "RAY_external_storage_namespace": "sightline",
        }
        del environment["RAY_ADDRESS"]
        arguments = ["--head", f"--port={GCS_PORT}", "--num-cpus=0", "--include-dashboard=false"]
        self._start(self.head, arguments, environment)

    def start_node(self, machine: Machine) -> None:
        """A node that serves."""
        self._start(machine, [f"--address={self.head.ip}:{GCS_PORT}", "--num-cpus=4"], self._environment)

    def revive(self) -> None:
        """Start Ray again where it ended, as a new pod would: a node that the head gave up for dead ends itself."""
        for machine in self.nodes:
            ended = self._ray[machine.name]
            if ended.poll() is not None:
                self.start_node(machine)

    def _start(self, machine: Machine, arguments: list[str], environment: Mapping[str, str]) -> None:
        common = [
            "--block",
            "--disable-usage-stats",
            f"--node-ip-address={machine.ip}",
            f"--temp-dir={self._folder / 'own' / 'ray'}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
        ]
        if machine is not self.head:
            common = [word for word in common if not word.startswith("--temp-dir")]
        with self.log(machine.name).open("ab") as log:
            self._ray[machine.name] = machine.run(
                ["ray", "start", *common, *arguments], environment=environment, log=log
            )

    def log(self, name: str) -> Path:
        """What the processes of a machine say."""
        return self._folder / f"{name}.log"

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Have Serve run this; returns when it was told."""
        written = self._folder / "serve_config.yaml"
        written.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        with self.log("deploy").open("ab") as log:
            command = ["serve", "run", "--non-blocking", str(written)]
            done = self.nodes[0].run(command, environment=self._environment, log=log)
            if done.wait(timeout=_START_S) != 0:
                raise RuntimeError(f"serve run: {self.log('deploy').read_text(encoding='utf-8')[-2000:]}")

    def is_ready(self) -> bool:
        """Whether every node answers."""
        return all(_is_ready(machine.ip) for machine in self.nodes)


def _is_ready(ip: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{ip}:{HTTP_PORT}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def until(is_so: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Seconds until it was so; TimeoutError when that takes too long."""
    begin_s = time.monotonic()
    while not is_so():
        if time.monotonic() - begin_s > within_s:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(0.1)
    return time.monotonic() - begin_s


@contextlib.contextmanager
def cluster(config: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[Cluster]:
    """The service, ready on every node; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))  # Ray's sockets need a short path
    try:
        with machines([HEAD, *NODES], folder=folder) as own, _redis(folder):
            found = Cluster(own, folder=folder, environment=environment)
            found.start_head()
            for machine in found.nodes:
                found.start_node(machine)
            found.deploy(config)
            until(found.is_ready, within_s=_START_S, what="the service")
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[None]:
    """Redis on the machines' network, which writes down every change before it answers."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not on PATH: it is in the package redis-server of Debian")
    words = (
        f"--bind {OWN_IP} --port {_REDIS_PORT} --protected-mode no --dir {folder} --appendonly yes --appendfsync always"
    )
    with subprocess.Popen([program, *words.split(), "--save", ""], stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.terminate()
