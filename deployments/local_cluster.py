"""A Ray cluster and the service on this machine, for `make run` and tests: loopback only, free ports, own folder."""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app.api.sent_frame import MAX_MESSAGE_BYTES
from app.core.heap import HEAP_ENVIRONMENT
from app.settings import ROOT

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below us become our children, so that no process of a run can get lost."""
SERVE_ENVIRONMENT = {
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "10",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
    "RAY_worker_niceness": "0",
}
"""HAProxy in front and one event loop a replica: 8 ms of processor less per image than Serve's own proxy, where our
code never blocks the loop. The controller looks twice a second, not ten times. A proxy that died is noticed within 1 s
(Serve's own: 10), and given up after 5 s of silence: at 2 s one behind a network cut of 10 s was. Replicas, which are
the work here, are not niced: 2 % more video frames. See CONTRIBUTING.md, Decisions."""
_FIRST_INGRESS_PORT, _BLOCK_PORTS, _BLOCKS = 20_000, 100, 100
_OWN_PORTS = range(30_100, 32_700)
"""All below the ports that the system hands out, and above those that Ray's workers take: what starts seconds later
finds its port still free."""
SETTLE_S = 2.0
OBJECT_STORE_BYTES = 512 * 1024**2


class StartError(Exception):
    """The service did not come up; `log` is the end of what it said."""


@dataclass(slots=True)
class LocalService:
    """One running service. `environment` overrides what its processes are started with."""

    config: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _words: None
    url: str = field(default="", init=False)
    grpc_address: str = field(default="", init=False)
    metrics_url: str = field(default="", init=False)
    folder: Path = field(init=False)
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)

    def start(self, *, timeout_s: float = 180.0) -> None:
        """Come up and answer `/readyz`; this process adopts whatever is orphaned below it.

        Raises StartError when that takes longer than `timeout_s`, fails, or a process ends.
        """
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))  # Ray's sockets need a short path
        options = self.config.setdefault("http_options", {})
        options["port"] = options.get("port") or free_port()
        self.url = f"http://127.0.0.1:{options['port']}"
        calls = self.config.setdefault("grpc_options", {})
        calls["port"] = calls.get("port") or free_port()
        self.grpc_address = f"127.0.0.1:{calls['port']}"
        written = self.folder / "serve_config.yaml"
        written.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        environment = self._environment()
        deadline_s = time.monotonic() + timeout_s
        self.say("starting Ray")
        gcs_port, metrics_port = free_port(), free_port()
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        environment["RAY_ADDRESS"] = f"127.0.0.1:{gcs_port}"
        arguments = _ray_arguments(self.folder, gcs_port=gcs_port, metrics_port=metrics_port)
        self._spawn("ray", *arguments, environment=environment)
        self._until(lambda: _listens(gcs_port), deadline_s=deadline_s, what="Ray")
        self.say("starting Serve, loading the model and warming it")
        self._spawn("serve", "run", str(written), environment=environment)
        self._until(self._is_ready, deadline_s=deadline_s, what="the service")
        # HAProxy reloads once more when it hears of the last replica, and closes connections as it does.
        time.sleep(SETTLE_S)
        self._until(self._is_ready, deadline_s=deadline_s, what="the service")

    def _environment(self) -> dict[str, str]:
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)
        haproxy = self.folder / "h"
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            **SERVE_ENVIRONMENT,
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "deployments" / "haproxy.py"),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            **_ingress_ports(),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
            **HEAP_ENVIRONMENT,
            **self.environment,
        }

    def _spawn(self, *command: str, environment: dict[str, str]) -> None:
        with self._log(command[0]).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603  our own programs, no shell
                [str(Path(sys.executable).parent / command[0]), *command[1:]],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop the others in order
            )
        self._children.append(child)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _until(self, is_done: Callable[[], bool], *, deadline_s: float, what: str) -> None:
        while not is_done():
            ended = [child for child in self._children if child.poll() is not None]
            if ended or self._has_failed() or time.monotonic() > deadline_s:
                logs = [self._log(name) for name in ("serve", "ray") if self._log(name).exists()]
                tail = logs[0].read_text(encoding="utf-8", errors="replace")[-4000:] if logs else ""
                raise StartError(
                    f"{what} {'did not come up' if time.monotonic() < deadline_s else 'took too long'}\n{tail}"
                )
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:  # noqa: S310  our own loopback
                return bool(answer.status == 200)  # noqa: PLR2004  HTTP
        except (urllib.error.URLError, OSError):
            return False

    def _has_failed(self) -> bool:
        log = self._log("serve")
        return log.exists() and b"DEPLOY_FAILED" in log.read_bytes()

    def wait(self) -> None:
        """Return when one of the processes ends."""
        while all(child.poll() is None for child in self._children):
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop every process below this one and remove the run's folder."""
        for child in reversed(self._children):
            child.terminate()
        _wait_until_gone(grace_s=2.0)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            _wait_until_gone(grace_s=3.0)
        shutil.rmtree(self.folder, ignore_errors=True)


def descendants(ancestor: int) -> list[int]:
    """The ids of all processes below `ancestor`."""
    parent_of: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent_of[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parent_of.items() if parent == pid]
    return found[1:]


def _wait_until_gone(*, grace_s: float) -> None:
    deadline_s = time.monotonic() + grace_s
    while time.monotonic() < deadline_s and descendants(os.getpid()):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def _ingress_ports() -> dict[str, str]:
    """Ports for the ingress replicas that another service on this machine hardly takes.

    HAProxy goes on for seconds with the port of a replica that died. With Ray's defaults a replica of another cluster
    may listen there by then, and answer.
    """
    first = _FIRST_INGRESS_PORT + _BLOCK_PORTS * secrets.randbelow(_BLOCKS)
    half, last = first + _BLOCK_PORTS // 2, first + _BLOCK_PORTS - 1
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(half - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(half),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(last),
    }


def free_port() -> int:
    """A TCP port that nobody listens on now, on any address, and that the system hands to nobody in the meantime."""
    while True:
        port = _OWN_PORTS[secrets.randbelow(len(_OWN_PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ray_arguments(folder: Path, *, gcs_port: int, metrics_port: int | None = None) -> list[str]:
    return [
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--include-dashboard=false",
        "--node-ip-address=127.0.0.1",
        f"--port={gcs_port}",
        f"--ray-client-server-port={free_port()}",
        f"--dashboard-agent-listen-port={free_port()}",
        f"--metrics-export-port={metrics_port or free_port()}",
        f"--temp-dir={folder / 'ray'}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--num-cpus={max(4, os.cpu_count() or 1)}",  # logical: the stages share what cores there are
    ]
