"""A running service to measure: `python -m deployments` on a free port, with the configuration a scenario asks for."""

import contextlib
import copy
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service answers, how long it took to be ready, and which processes it consists of."""

    host: str
    port: int
    start_s: float
    launcher: int

    @property
    def url(self) -> str:
        """The address for people."""
        return f"http://{self.host}:{self.port}"

    def processes(self) -> dict[int, str]:
        """Ids and titles of the service's processes."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return {pid: _title(pid) for pid in pids if _is_below(pid, self.launcher)}

    def rss_bytes(self) -> int:
        """Resident memory of all processes, without Ray's object store, which each would count as its own."""
        return sum(rss_bytes(pid) for pid in self.processes())

    def cpu_s(self) -> float:
        """Processor seconds that all processes have used."""
        return sum(cpu_s(pid) for pid in self.processes())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process for a while, so that the other side of a comparison has the machine for itself."""
        stopped = list(self.processes())
        try:
            for pid in stopped:
                _signal(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                _signal(pid, signal.SIGCONT)


def configuration(config: str = "serve_config.yaml", **args: Any) -> dict[str, Any]:
    """A Serve config file of the project with other settings for its application."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))
    merged = copy.deepcopy(loaded)
    _merge(merged["applications"][0].setdefault("args", {}), args)
    return merged


def _merge(target: dict[str, Any], extra: dict[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


@contextlib.contextmanager
def running(config: dict[str, Any], *, environment: dict[str, str] | None = None) -> Iterator[Service]:
    """The service, ready; stopped at the end. RuntimeError with its words when it does not come up."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "serve_config.yaml"
        written.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        start_s = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "deployments", str(written), "--port", "0"],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as launcher:
            listening: list[threading.Thread] = []
            try:
                url = _announced(launcher, listening)
                host, port = url.removeprefix("http://").split(":")
                yield Service(host, int(port), time.monotonic() - start_s, launcher.pid)
            finally:
                launcher.send_signal(signal.SIGTERM)
                launcher.wait(timeout=60)
                for thread in listening:
                    thread.join()


def _announced(launcher: subprocess.Popen[str], listening: list[threading.Thread]) -> str:
    """The address that the launcher prints once the service answers; its words go to our stderr meanwhile.

    `listening` gets the threads that read the launcher's pipes until it ends.
    """
    said: list[str] = []
    out: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in launcher.stderr or ():
            said.append(line)
            sys.stderr.write(line)

    def read() -> None:
        out.put((launcher.stdout.readline() if launcher.stdout else "") or "")

    listening += [threading.Thread(target=listen, daemon=True), threading.Thread(target=read, daemon=True)]
    for thread in listening:
        thread.start()
    line = out.get(timeout=240)
    addresses = [word for word in line.split() if word.startswith("http://")]
    if not addresses:
        raise RuntimeError("the service did not come up:\n" + "".join(said))
    return addresses[0]


def cpu_s(pid: int) -> float:
    """Processor seconds of one process; 0 when it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident bytes of one process without shared memory segments; 0 when it has gone."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    segments_kib = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssShmem:")]
    return resident * os.sysconf("SC_PAGE_SIZE") - sum(segments_kib) * 1024


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
        if pid == ancestor:
            return True
    return False


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
