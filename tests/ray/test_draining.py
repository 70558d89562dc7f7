"""How a replica hears that it is being stopped, on a real cluster."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import httpx
import pytest

from deployments.draining import drained
from tests.small_cluster import Cluster

pytest_plugins = "tests.ray_fixtures"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@dataclass(slots=True)
class Listener:
    """One client of one replica; `told_s` is when it heard the farewell, `failure` what went wrong instead."""

    url: str
    replica: str = ""
    told_s: float = float("inf")
    failure: str = ""
    is_connected: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()
        assert self.is_connected.wait(20)

    def _listen(self) -> None:
        try:
            with httpx.stream("GET", f"{self.url}/listen", timeout=60) as response:
                lines = response.iter_lines()
                self.replica = next(lines)
                self.is_connected.set()
                assert list(lines) == ["goaway"]
                self.told_s = time.monotonic()
        except Exception as error:  # noqa: BLE001  the test tells whatever went wrong
            self.failure = repr(error)
            self.is_connected.set()


def listeners_on_every_replica(cluster: Cluster, *, replicas: int) -> dict[str, Listener]:
    """One listener a replica."""
    deadline_s = time.monotonic() + 30
    found: dict[str, Listener] = {}
    while len(found) < replicas:
        assert time.monotonic() < deadline_s, "not every replica answers"
        listener = Listener(cluster.url)
        found.setdefault(listener.replica, listener)
    return found


def next_told(by_replica: dict[str, Listener]) -> Listener:
    """The listener that is told now; it leaves `by_replica`."""
    deadline_s = time.monotonic() + 60
    while not (gone := [name for name, listener in by_replica.items() if not listener.thread.is_alive()]):
        assert time.monotonic() < deadline_s, "nobody was told"
        time.sleep(0.05)
    (name,) = gone
    assert by_replica[name].failure == ""
    return by_replica.pop(name)


def test_who_listens_at_a_replica_is_told_as_it_is_stopped_and_nobody_else(small_cluster: Cluster) -> None:
    small_cluster.deploy("tests.bell:build", replicas={"Bell": 2}, version="1")
    by_replica = listeners_on_every_replica(small_cluster, replicas=2)

    began_s = time.monotonic()
    small_cluster.deploy("tests.bell:build", replicas={"Bell": 1}, version="1")
    assert next_told(by_replica).told_s - began_s < 10
    assert all(listener.thread.is_alive() for listener in by_replica.values())

    began_s = time.monotonic()
    small_cluster.deploy("tests.bell:build", replicas={"Bell": 1}, version="2")
    assert next_told(by_replica).told_s - began_s < 20
    assert httpx.get(f"{small_cluster.url}/version").json() == "2"


def test_outside_of_a_replica_there_is_nothing_to_wait_for() -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(drained())
