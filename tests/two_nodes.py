"""A Ray cluster of a head and a worker node on loopback, whose head can be killed and started again.

Each node is a session of processes of its own. A driver is a program on the worker node: it is told what to ask of the
streams' store, one line of JSON a call, so that a driver that dies with its cluster takes no test with it.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import ray

from app.core.errors import SightlineError, UnavailableError
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import Claim, StreamState
from deployments.cluster_records import ClusterRecords
from deployments.local_cluster import ROOT, descendants, free_port
from deployments.stream_store import _NAME, BookActor, RayStreamStore

HEAD, WORKER = "head", "worker"
"""Each node has a mark of that name."""
HEAD_IP: Final = "127.0.0.2"
WORKER_IP: Final = "127.0.0.3"
"""All of 127.0.0.0/8 is loopback; in place of 127.0.0.1 itself Ray takes the machine's outer address."""
SOONER: Final = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}
"""A node is found dead within seconds, and one that has lost its head ends after 15 s, not after Ray's 60 s."""
START_S: Final = 60.0
BACK_S: Final = 30.0
"""A store that is away is asked again for so long."""
DIED: Final = {"error": "died"}
_STATE, _SESSION = 0, 3  # where /proc/PID/stat has them, counted from behind the name


@dataclass(slots=True)
class Node:
    """The processes of one `ray start`."""

    command: subprocess.Popen[bytes]

    def pids(self, name: str | None = None) -> list[int]:
        """Its processes that live, all or those of one name: also workers, which begin sessions of their own."""
        found = []
        for pid in (self.command.pid, *descendants(self.command.pid), *self._orphans()):
            with contextlib.suppress(OSError):
                is_named = name is None or Path(f"/proc/{pid}/comm").read_text().strip() == name
                if is_named and _stat(pid)[_STATE] != "Z":
                    found.append(pid)
        return found

    def _orphans(self) -> list[int]:
        """What is left of the session once its first process is gone."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(_stat(int(entry.name))[_SESSION]) == self.command.pid:
                    found.append(int(entry.name))
        return found

    def kill(self, name: str | None = None) -> None:
        """`kill -9` its processes, all or those of one name; returns when they are gone."""
        while pids := self.pids(name):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.command.poll()
            time.sleep(0.02)

    def has_lost_its_raylet(self) -> bool:
        """Whether it is no node any more; its agents end some seconds later."""
        self.command.poll()
        return not self.pids("raylet")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()


@dataclass(slots=True)
class TwoNodes:
    """The cluster. `storage` are the variables that say where its head keeps GCS' records."""

    storage: dict[str, str]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp")))
    port: int = field(default_factory=free_port)
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """What drivers and nodes are started with."""
        return {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "RAY_ADDRESS": f"{HEAD_IP}:{self.port}",
            **SOONER,
        }

    def start_head(self, *more: str) -> Node:
        """A head, with those arguments besides; returns while it is starting."""
        # It says where the last head was, which another machine's disk would not.
        (self.folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        client = f"--ray-client-server-port={free_port()}"
        place = (f"--node-ip-address={HEAD_IP}", f"--port={self.port}", f"--temp-dir={self.folder / 'ray'}")
        environment = {**self.environment, **self.storage}
        del environment["RAY_ADDRESS"]
        return self._start(HEAD, "--head", "--include-dashboard=false", *place, client, *more, environment=environment)

    def start_worker(self, *more: str) -> Node:
        """The other node, with those arguments besides; returns while it is starting."""
        address = f"--address={HEAD_IP}:{self.port}"
        return self._start(WORKER, address, f"--node-ip-address={WORKER_IP}", *more, environment=self.environment)

    def _start(self, mark: str, *arguments: str, environment: dict[str, str]) -> Node:
        common = ("--block", "--disable-usage-stats", "--num-cpus=2", f"--object-store-memory={80 * 1024**2}")
        own = f"--resources={json.dumps({mark: 9})}"
        agent = f"--dashboard-agent-listen-port={free_port()}"
        with (self.folder / "log").open("ab") as log:
            command = subprocess.Popen(
                [str(Path(sys.executable).parent / "ray"), "start", *common, own, agent, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(Node(command))
        return self.nodes[-1]

    def stop(self) -> None:
        """Kill all that is left and remove the folder."""
        for node in self.nodes:
            node.kill()
            node.command.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def two_nodes(**storage: str) -> Iterator[TwoNodes]:
    """A cluster with nothing started yet; gone at the end."""
    cluster = TwoNodes(storage)
    try:
        yield cluster
    finally:
        cluster.stop()


def until(is_done: Callable[[], bool], *, within_s: float = START_S) -> None:
    """Return once it is so; AssertionError when it takes too long."""
    deadline_s = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < deadline_s, "it took too long"
        time.sleep(0.05)


class Driver:
    """The program on the node of that address, started again until its node is there."""

    def __init__(self, cluster: TwoNodes, *, ip: str) -> None:
        self._log = (cluster.folder / "driver").open("ab")
        command = [sys.executable, "-m", "tests.two_nodes", ip]
        until_s = time.monotonic() + START_S
        while True:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=cluster.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline():
                return
            self.close()
            assert time.monotonic() < until_s, (cluster.folder / "driver").read_text()[-2000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._log.close()

    def ask(self, call: str, namespace: str, stream_id: str = "", **arguments: Any) -> Any:
        """The answer; {"error": code} for an error of ours, `DIED` when the driver is no more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([call, namespace, stream_id, arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            return json.loads(answer) if answer else DIED
        return DIED

    def close(self) -> None:
        """Kill it; what it asked for stays."""
        self._process.kill()
        self._process.communicate()


class Asked:
    """What a driver does: calls to the stores and records of namespaces."""

    def __init__(self) -> None:
        self._stores: dict[str, RayStreamStore] = {}

    async def answer(self, call: str, namespace: str, stream_id: str, arguments: dict[str, Any]) -> Any:
        """As owners call: again while the store is away."""
        deadline_s = time.monotonic() + BACK_S
        while True:
            try:
                return await self._once(call, namespace, stream_id, arguments)
            except UnavailableError:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.1)

    async def _once(self, call: str, namespace: str, stream_id: str, arguments: dict[str, Any]) -> Any:
        store = self._stores.setdefault(namespace, RayStreamStore(namespace=namespace))
        match call:
            case "pin":
                return await asyncio.to_thread(_pin, namespace, arguments["node"])
            case "record":
                term = await asyncio.to_thread(ClusterRecords(namespace).newest, stream_id)
                return term and asdict(term)
            case "secret":
                return (await store.secret()).hex()
            case "create":
                return _plain(await store.create(stream_id, StreamSpec(label=stream_id)))
            case "claim":
                return _plain(await store.claim(stream_id))
            case "save":
                state = StreamState(
                    epoch=arguments["epoch"],
                    last_seq=0,
                    answered=0,
                    dropped={},
                    errors={},
                    tracker=b"t",
                    counter={},
                    state_events=0,
                )
                return await store.save(stream_id, term=arguments["term"], state=state, events=[])
            case _:
                raise ValueError(call)


def _plain(claim: Claim) -> dict[str, Any]:
    return {"term": claim.term, "epoch": claim.epoch, "has_state": claim.state is not None, "label": claim.spec.label}


def _pin(namespace: str, node: str) -> None:
    """Start the namespace's book as the store does, but where that node's mark is: affinity is not kept to here."""
    actor: Any = ray.remote(BookActor).options(
        name=_NAME,
        namespace=namespace,
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        resources={node: 1},
    )
    ray.get(actor.remote(namespace, 1024).streams.remote())


async def _serve() -> None:
    asked = Asked()
    while line := await asyncio.to_thread(sys.stdin.readline):
        call, namespace, stream_id, arguments = json.loads(line)
        try:
            answer = await asked.answer(call, namespace, stream_id, arguments)
        except SightlineError as error:
            answer = {"error": error.code}
        print(json.dumps(answer), flush=True)  # noqa: T201  the pipe to the test


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        ray.init(_node_ip_address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
    print(json.dumps("ready"), flush=True)  # noqa: T201  the pipe to the test
    asyncio.run(_serve())
