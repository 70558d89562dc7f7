"""What of the streams' terms and epochs outlives the head of the cluster, and what a claim makes of it afterwards."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.redis import NoRedisError, install, redis
from tests.two_nodes import DIED, HEAD, HEAD_IP, WORKER, WORKER_IP, Driver, Node, two_nodes, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
FAR, NEAR = "far", "near"  # namespaces: the book of one is on the worker node, that of the other on the head


@contextlib.contextmanager
def in_rocksdb(folder: Path) -> Iterator[dict[str, str]]:
    """GCS keeps its records in a folder that outlives the head, as a volume would."""
    yield {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder / "gcs")}


@contextlib.contextmanager
def in_redis(folder: Path) -> Iterator[dict[str, str]]:
    """GCS keeps its records in a server of their own."""
    try:
        install()
    except NoRedisError as error:
        pytest.skip(str(error))
    with redis(folder) as address:
        yield {"RAY_REDIS_ADDRESS": address, "RAY_external_storage_namespace": "sightline"}


def kill_all(head: Node) -> None:
    """What a machine does that loses its power."""
    head.kill()


def kill_gcs(head: Node) -> None:
    """`ray start --block` ends the rest of the node when it has lost GCS."""
    head.kill("gcs_server")
    until(head.has_lost_its_raylet)


def used(driver: Driver, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """Two streams with two terms each, every claim of theirs: `kept` has saved its state, `lost` never has."""
    given = {name: [driver.ask("create", namespace, name)] for name in ("kept", "lost")}
    driver.ask("save", namespace, "kept", term=1, epoch=0)
    for name, claims in given.items():
        claims.append(driver.ask("claim", namespace, name))
    assert [(claim["term"], claim["epoch"]) for claim in given["kept"]] == [(1, 0), (2, 0)]
    assert [(claim["term"], claim["epoch"]) for claim in given["lost"]] == [(1, 0), (2, 1)]
    return given


@pytest.mark.nightly
@pytest.mark.parametrize(("storage", "kill"), [(in_rocksdb, kill_all), (in_redis, kill_gcs)])
def test_terms_and_epochs_outlive_the_head_and_a_claim_goes_on_from_them(
    storage: Callable[[Path], AbstractContextManager[dict[str, str]]], kill: Callable[[Node], None], tmp_path: Path
) -> None:
    with storage(tmp_path) as variables, two_nodes(**variables) as cluster:
        head, worker = cluster.start_head(), cluster.start_worker()
        with Driver(cluster, ip=WORKER_IP) as driver:
            driver.ask("pin", FAR, node=WORKER)
            driver.ask("pin", NEAR, node=HEAD)
            given = {namespace: used(driver, namespace) for namespace in (FAR, NEAR)}
            records = [driver.ask("record", place, name) for place in given for name in given[place]]
            secret = driver.ask("secret", FAR)

            kill(head)
            cluster.start_head()

            assert records == [driver.ask("record", place, name) for place in given for name in given[place]]
            assert driver.ask("secret", FAR) == secret
            # The owner of the last term lives on and saves where the book lives on too.
            assert driver.ask("save", FAR, "kept", term=2, epoch=0) is None
            after = {place: {name: driver.ask("claim", place, name) for name in given[place]} for place in given}
            assert after[FAR]["kept"] == {"term": 3, "epoch": 0, "has_state": True, "label": "kept"}
            assert after[NEAR]["kept"] == {"term": 3, "epoch": 1, "has_state": False, "label": "kept"}
            assert after[FAR]["lost"] == after[NEAR]["lost"] == {**after[FAR]["lost"], "term": 3, "epoch": 2}
            assert driver.ask("save", NEAR, "kept", term=2, epoch=0) == {"error": "moved"}
            assert not worker.has_lost_its_raylet()
        with Driver(cluster, ip=HEAD_IP) as late:  # another owner, on the new head
            given_later = late.ask("claim", NEAR, "lost")
            assert (given_later["term"], given_later["epoch"]) == (4, 3)


@pytest.mark.nightly
def test_without_fault_tolerance_the_records_end_with_the_head_and_its_nodes_soon_after() -> None:
    """The positive control: nothing but the store makes the difference."""
    with two_nodes() as cluster:
        head, worker = cluster.start_head(), cluster.start_worker()
        with Driver(cluster, ip=WORKER_IP) as driver:
            used(driver, FAR)
            kill_all(head)
            cluster.start_head()
            # The old book lives on until its node ends, but gives nothing away that it cannot record.
            assert driver.ask("claim", FAR, "kept") in ({"error": "unavailable"}, DIED)
            until(worker.has_lost_its_raylet)
            assert driver.ask("record", FAR, "kept") == DIED
        with Driver(cluster, ip=HEAD_IP) as fresh:
            assert fresh.ask("record", FAR, "kept") is None
            assert fresh.ask("claim", FAR, "kept") == {"error": "not_found"}
            assert fresh.ask("create", FAR, "kept") == {"term": 1, "epoch": 0, "has_state": False, "label": "kept"}
