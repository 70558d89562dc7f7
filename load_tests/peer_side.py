"""One peer as a process to measure: its environment, its server, and what that needs."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load_tests.http_client import request_bytes
from load_tests.service import ROOT, Service

SERVERS: Final = ROOT / "load_tests" / "peers"
ENVIRONMENTS: Final = ROOT / "build" / "peers"
LOGS: Final = ROOT / "build" / "peers" / "logs"
_START_S: Final = 120.0
_EDGE: Final = "sightline-peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How a peer is asked: the multipart field that it reads pictures from, None for the raw body."""

    name: str
    field: str | None = None

    def request(self, jpeg: bytes, *, host: str) -> bytes:
        """A whole request with that picture."""
        body, kind = self.body(jpeg)
        return request_bytes("/predict", body, host=host, content_type=kind)

    def body(self, jpeg: bytes) -> tuple[bytes, str]:
        """The body and its content type."""
        if self.field is None:
            return jpeg, "image/jpeg"
        head = (
            f'--{_EDGE}\r\ncontent-disposition: form-data; name="{self.field}"; filename="frame.jpg"\r\n'
            "content-type: image/jpeg\r\n\r\n"
        )
        return head.encode() + jpeg + f"\r\n--{_EDGE}--\r\n".encode(), f"multipart/form-data; boundary={_EDGE}"


PEERS: Final = (
    Peer(name="ultralytics"),
    Peer(name="litserve", field="image"),
    Peer(name="bentoml", field="images"),
    Peer(name="serve"),
)


def install(peer: Peer) -> None:
    """Make the peer's environment from its pinned requirements, unless it is there; CalledProcessError when it fails.

    Without dependencies: the list is complete, and torchvision asks for a CUDA build of torch not needed here.
    """
    target = ENVIRONMENTS / peer.name
    if (target / ".installed").exists():
        return
    subprocess.run(["python3", "-m", "venv", str(target)], check=True)
    pip = [str(target / "bin" / "pip"), "install", "-q", "--no-deps", "-r", str(SERVERS / f"{peer.name}.txt")]
    subprocess.run(["nice", *pip], check=True)
    (target / ".installed").touch()


@contextlib.contextmanager
def peer_running(peer: Peer, model: Path, *, sample: bytes) -> Iterator[Service]:
    """The peer's server, answering `sample`; ended with all its processes. RuntimeError when it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{peer.name}.log"
    command = [str(ENVIRONMENTS / peer.name / "bin" / "python"), f"{peer.name}_server.py", str(model), str(port)]
    start_s = time.monotonic()
    with log.open("w") as out:
        child = subprocess.Popen(
            command, cwd=SERVERS, stdout=out, stderr=out, env={**os.environ, "RAY_AUTH_MODE": "disabled"}
        )
    service = Service("127.0.0.1", port, 0.0, child.pid)
    try:
        _await(peer, service, child, sample=sample, log=log)
        yield Service("127.0.0.1", port, time.monotonic() - start_s, child.pid)
    finally:
        _end(child, service)


def ask(peer: Peer, service: Service, jpeg: bytes) -> dict[str, list[object]]:
    """The peer's answer to one picture; OSError when there is none."""
    body, kind = peer.body(jpeg)
    request = urllib.request.Request(f"{service.url}/predict", data=body, headers={"content-type": kind})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own server
        found = json.loads(answer.read())
    return found[0] if isinstance(found, list) else found


def _await(peer: Peer, service: Service, child: subprocess.Popen[bytes], *, sample: bytes, log: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and child.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            ask(peer, service, sample)
            return
        time.sleep(0.2)
    raise RuntimeError(f"{peer.name} did not come up:\n" + log.read_text(encoding="utf-8", errors="replace")[-2000:])


def _end(child: subprocess.Popen[bytes], service: Service) -> None:
    everyone = [*service.processes(), child.pid]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)
