"""The router of sessions, between two deployments of a real cluster."""

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ray.serve.handle import DeploymentHandle

from tests.echo import ROOM
from tests.small_cluster import Cluster

pytest_plugins = "tests.ray_fixtures"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
SESSIONS = [f"camera-{number}" for number in range(300)]
ROUTER = "deployments.routing:SessionRouter"


def deploy(cluster: Cluster, *, echoes: int) -> DeploymentHandle[Any]:
    return cluster.deploy("tests.echo:build", replicas={"Echo": echoes}, router=ROUTER)


@pytest.fixture(scope="module")
def caller(small_cluster: Cluster) -> DeploymentHandle[Any]:
    """Three Echo replicas behind one Caller."""
    return deploy(small_cluster, echoes=3)


def owners(caller: DeploymentHandle[Any]) -> dict[str, tuple[str, int]]:
    """Where each session's calls go now."""
    found = caller.who.remote(SESSIONS).result(timeout_s=30)
    return {session: tuple(owner) for session, owner in zip(SESSIONS, found, strict=True)}


def owners_on(caller: DeploymentHandle[Any], *, replicas: int) -> dict[str, tuple[str, int]]:
    """The same, once so many replicas take part: asked again then, for one may come while the calls are under way."""
    deadline_s = time.monotonic() + 60
    while len(set(owners(caller).values())) != replicas:
        assert time.monotonic() < deadline_s, "the replica did not come"
        time.sleep(0.2)
    return owners(caller)


def test_calls_of_one_session_made_at_once_in_one_request_all_reach_one_replica(caller: DeploymentHandle[Any]) -> None:
    found = caller.who.remote(["camera-7"] * 60).result(timeout_s=10)
    assert len(found) == 60
    assert len(set(map(tuple, found))) == 1


def test_sessions_spread_over_the_replicas(caller: DeploymentHandle[Any]) -> None:
    shares = Counter(owners_on(caller, replicas=3).values())
    assert max(shares.values()) <= 0.45 * len(SESSIONS)


def test_a_busy_owner_is_waited_for_and_holds_up_nobody_else(caller: DeploymentHandle[Any], tmp_path: Path) -> None:
    before = owners_on(caller, replicas=3)
    busy, owner = SESSIONS[0], before[SESSIONS[0]]
    others = [session for session in SESSIONS if before[session] != owner]
    gate = tmp_path / "gate"
    held = caller.hold.remote(busy, 4 * ROOM, str(gate))
    elsewhere = caller.who.remote(others).result(timeout_s=10)
    assert [tuple(found) for found in elsewhere] == [before[session] for session in others]
    waiting = caller.who.remote([busy] * 5)
    with pytest.raises(TimeoutError):
        waiting.result(timeout_s=0.5)
    gate.touch()
    assert set(held.result(timeout_s=10)) == {owner[0]}
    assert {tuple(found) for found in waiting.result(timeout_s=10)} == {owner}


def test_a_death_moves_the_sessions_of_the_dead_at_once_and_its_successor_takes_only_its_share(
    caller: DeploymentHandle[Any],
) -> None:
    before = owners_on(caller, replicas=3)
    dead = before[SESSIONS[0]]
    orphans = [session for session in SESSIONS if before[session] == dead][:10]
    os.kill(dead[1], signal.SIGKILL)
    killed_s = time.monotonic()
    assert len(caller.who.remote(orphans).result(timeout_s=10)) == len(orphans)
    assert time.monotonic() - killed_s < 2.0
    after = owners(caller)
    assert dead not in after.values()
    assert all(after[session] == before[session] for session in SESSIONS if before[session] != dead)
    replaced = owners_on(caller, replicas=3)
    new = set(replaced.values()) - set(after.values())
    moved = [session for session in SESSIONS if replaced[session] != after[session]]
    assert {replaced[session] for session in moved} == new
    assert 0.2 < len(moved) / len(SESSIONS) < 0.45


def test_one_replica_more_takes_only_its_share(small_cluster: Cluster, caller: DeploymentHandle[Any]) -> None:
    before = owners_on(caller, replicas=3)
    deploy(small_cluster, echoes=4)
    after = owners_on(caller, replicas=4)
    moved = [session for session in SESSIONS if after[session] != before[session]]
    assert {after[session] for session in moved} == set(after.values()) - set(before.values())
    assert 0.15 < len(moved) / len(SESSIONS) < 0.35
