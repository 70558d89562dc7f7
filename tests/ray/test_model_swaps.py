"""Versions of a model come and go on a real service: under load, under kills, and when they are worth nothing."""

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from load_tests.open_loop import OpenLoop, shots
from load_tests.service import Service, running
from load_tests.swap_account import Account, Switch, account_of, switch_s
from load_tests.swap_models import MODEL, Mark, Written, flat, network, pictures, put, version_seen
from load_tests.swap_operator import Operator
from load_tests.swaps_live import MARKS, settings

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
T = TypeVar("T")
JPEG = {"content-type": "image/jpeg"}
RATE_HZ: Final = 40.0
BACK_S: Final = 30.0
FIRST: Final = MARKS[0].version
CORRUPT, NAN = Mark(n=20), Mark(n=21)
TYPED: Final = {"503 unavailable", "503 overloaded", "504 deadline_exceeded"}


@dataclass(frozen=True, slots=True)
class Served:
    """A service, and the versions in its store."""

    service: Service
    versions: dict[str, Written]

    @property
    def marks(self) -> dict[str, Mark]:
        return {version: written.mark for version, written in self.versions.items()}

    def run(self, scenario: Callable[[Operator, "Load"], Awaitable[T]]) -> T:
        async def scene() -> T:
            async with Operator(self.service.url, self.versions) as operator:
                client = OpenLoop(self.service.host, self.service.port)
                try:
                    return await scenario(operator, Load(self, operator, client))
                finally:
                    client.close()

        return asyncio.run(scene())

    def pids(self, words: str) -> set[int]:
        """Processes whose command line holds these words."""
        return {pid for pid in self.service.processes() if words in command_of(pid)}


class Load:
    """Pictures at a steady rate while something happens; `account` is of all that were sent meanwhile."""

    def __init__(self, served: Served, operator: Operator, client: OpenLoop) -> None:
        self.account = Account()
        self._served = served
        self._operator = operator
        self._client = client

    async def during(self, work: Awaitable[T], *, after_s: float = 0.3) -> T:
        going = True
        choices = shots(pictures(4), host=self._served.service.host)
        sending = asyncio.create_task(
            self._client.offer(choices, rate_hz=RATE_HZ, goes_on=lambda: going, seed=1),
        )
        try:
            done = await work
            await asyncio.sleep(after_s)
        finally:
            going = False
            await sending
        self.account = account_of(self._client.taken(), marks=self._served.marks, epochs=self._operator.epochs)
        return done


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def nan_network(mark: Mark) -> bytes:
    """A version all of whose numbers are none."""
    model = network(mark)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            values = np.full_like(numpy_helper.to_array(weight), np.nan)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model.SerializeToString()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("store")
    config, versions = settings(folder, grace_s=0.5, gone_after_s=4.0)
    bad = {
        CORRUPT.version: put(folder, CORRUPT, network(CORRUPT).SerializeToString()[:-40] + b"\xff" * 40),
        NAN.version: put(folder, NAN, nan_network(NAN)),
    }
    with running(config) as service:
        yield Served(service, {**versions, **bad})


async def other_than_primary(operator: Operator) -> tuple[str, str]:
    """The version that answers, and one that does not."""
    status = await operator.model()
    (primary,) = (one["version"] for one in status["versions"] if one["state"] == "PRIMARY")
    return primary, next(mark.version for mark in MARKS[1:] if mark.version != primary)


async def switched(operator: Operator, version: str) -> Switch:
    epoch = (await operator.model())["route_epoch"]
    asked_s = time.monotonic()
    answer = await operator.route(if_match=epoch, weights={version: 1.0})
    assert answer.status_code == 200, answer.text
    return Switch(asked_s=asked_s, epoch=epoch + 1)


async def alone(operator: Operator, version: str) -> None:
    """Let it answer everything, whatever shares of the traffic a test before gave to others."""
    await operator.until(FIRST, {"PRIMARY", "WARM", "UNLOADED", "DRAINING"})
    state = {one["version"]: one["state"] for one in (await operator.model())["versions"]}.get(version)
    if state != "PRIMARY":
        await operator.load(version)
    await switched(operator, version)


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float = BACK_S) -> float:
    """Seconds until it is so."""
    begin_s = time.monotonic()
    while not await is_so():
        assert time.monotonic() - begin_s < within_s
        await asyncio.sleep(0.1)
    return time.monotonic() - begin_s


def post(served: Served, **headers: str) -> httpx.Response:
    return httpx.post(f"{served.service.url}/v1/detections", content=flat(180), headers={**JPEG, **headers}, timeout=30)


def seen(served: Served, result: dict[str, Any]) -> tuple[str, str | None]:
    """What it says it is of, and what it is of."""
    return result["model"]["version"], version_seen([found["box"] for found in result["objects"]], served.marks)


def test_a_version_is_loaded_beside_the_one_that_answers_and_takes_over_at_once(served: Served) -> None:
    async def scenario(operator: Operator, load: Load) -> None:
        before, after = await other_than_primary(operator)
        epoch = (await operator.model())["route_epoch"]

        async def swap() -> Switch:
            refused = await operator.route(weights={after: 1.0})
            assert refused.status_code == 409
            assert refused.headers["etag"] == f'"{epoch}"'
            assert (await operator.model())["route_epoch"] == epoch
            await operator.load(after)
            switch = await switched(operator, after)
            await operator.until(before, {"UNLOADED"})
            return switch

        switch = await load.during(swap())
        account = load.account
        assert (account.torn, account.failed) == ([], {})
        assert {(one.epoch, one.version) for one in account.told} == {(epoch, before), (epoch + 1, after)}
        assert switch_s(switch, account.told) <= 0.8
        await until(lambda: is_true(len(served.pids("engines.host")) == 1))

    served.run(scenario)


async def is_true(value: bool) -> bool:  # noqa: FBT001  for `until`
    return value


def test_of_two_changes_at_once_exactly_one_wins_and_the_other_hears_of_it(served: Served) -> None:
    async def scenario(operator: Operator, _load: Load) -> None:
        primary, other = await other_than_primary(operator)
        await operator.load(other)
        assert [await operator.race(weights={primary: 0.9, other: 0.1}) for _ in range(5)] == [True] * 5

    served.run(scenario)


def test_accept_picks_a_version_and_one_that_is_not_there_is_told_which_are(served: Served) -> None:
    async def scenario(operator: Operator, _load: Load) -> None:
        primary, other = await other_than_primary(operator)
        await operator.load(other)
        for version in (primary, other):
            wish = f"application/vnd.sightline.vision.v{version}+json"
            answers = [await asyncio.to_thread(post, served, accept=wish) for _ in range(5)]
            assert {seen(served, answer.json()) for answer in answers} == {(version, version)}
        wish = "application/vnd.sightline.vision.v9.0+json"
        refused = await asyncio.to_thread(post, served, accept=wish)
        assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
        assert {primary, other} <= set(refused.json()["detail"].replace(",", " ").split())

    served.run(scenario)


def test_a_live_stream_changes_between_two_frames_keeps_its_tracks_and_says_so(served: Served) -> None:
    async def scenario(operator: Operator, _load: Load) -> None:
        before, after = await other_than_primary(operator)
        await alone(operator, before)
        await operator.load(after)
        async with httpx.AsyncClient(base_url=served.service.url, timeout=30) as client:
            stream = (await client.post("/v1/streams", json={})).json()["stream_id"]
            frames: list[dict[str, Any]] = []
            for seq in range(24):
                if seq == 12:
                    switch = await switched(operator, after)
                answer = await client.post(f"/v1/streams/{stream}/frames", content=flat(180), headers=JPEG)
                assert answer.status_code == 200, answer.text
                frames.append(answer.json())
                await asyncio.sleep(0.05)
            await client.delete(f"/v1/streams/{stream}")
            told = await client.get(f"/v1/streams/{stream}/events?since=-1")
        said, is_of = zip(*(seen(served, frame) for frame in frames), strict=True)
        assert said == is_of
        runs = [(version, len(list(run))) for version, run in itertools.groupby(said)]
        assert [version for version, _ in runs] == [before, after]
        assert [frame["route_epoch"] for frame in frames] == [
            switch.epoch - 1 if version == before else switch.epoch for version in said
        ]
        ids = [found["track_id"] for frame in frames for found in frame["objects"] if "track_id" in found]
        assert len(ids) > 18
        assert len(set(ids)) == 1
        assert {frame["epoch"] for frame in frames} == {0}
        events = [json.loads(line) for line in told.text.splitlines()]
        changes = [event for event in events if event.get("reason") == "model"]
        assert [change["model"] for change in changes] == [{"name": MODEL, "version": after}]
        assert changes[0]["schema"] == "sightline.v1.StreamState"

    served.run(scenario)


def test_versions_that_are_worth_nothing_fail_with_a_reason_and_nobody_else_notices(served: Served) -> None:
    async def scenario(operator: Operator, load: Load) -> None:
        primary, _ = await other_than_primary(operator)

        async def put_both() -> dict[str, dict[str, Any]]:
            for mark in (CORRUPT, NAN):
                body = {"sha256": served.versions[mark.version].sha256}
                url = f"{served.service.url}/v1/models/{MODEL}/versions/{mark.version}"
                answer = await asyncio.to_thread(httpx.put, url, json=body, timeout=30)
                assert answer.status_code == 202, answer.text
            for mark in (CORRUPT, NAN):
                status = await operator.until(mark.version, {"FAILED"})
            return {one["version"]: one for one in status["versions"]}

        versions = await load.during(put_both())
        assert (load.account.torn, load.account.failed) == ([], {})
        assert primary in load.account.versions()
        for mark in (CORRUPT, NAN):
            assert versions[mark.version]["reason"]
            assert (await operator.route(weights={mark.version: 1.0})).status_code == 409
        assert "finite" in versions[NAN.version]["reason"]

    served.run(scenario)


@pytest.mark.parametrize(
    ("model", "version", "uri"),
    [
        ("..%2f..%2fetc", "1.0.0", ""),
        ("%2e%2e", "1.0.0", ""),
        (MODEL, "%2e%2e", ""),
        (MODEL, "..%2f1.0.0", ""),
        (MODEL, "1.9.0", "../../etc"),
        (MODEL, "1.9.0%00", ""),
    ],
)
def test_names_that_lead_elsewhere_are_refused(served: Served, model: str, version: str, uri: str) -> None:
    path = f"/v1/models/{model}/versions/{version}"
    url = httpx.URL(served.service.url).copy_with(raw_path=path.encode())
    answer = httpx.put(url, json={"sha256": "a" * 64, "uri": uri}, timeout=30)
    assert answer.status_code in {400, 404, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    (status,) = httpx.get(f"{served.service.url}/v1/models", timeout=30).json()
    assert status["model"] == MODEL
    assert {one["version"] for one in status["versions"]} <= set(served.versions)


def test_a_killed_model_process_comes_back_within_seconds_and_its_stage_stays(served: Served) -> None:
    async def scenario(operator: Operator, load: Load) -> None:
        primary, _ = await other_than_primary(operator)
        await alone(operator, primary)
        stages = served.pids("ServeReplica:sightline:Detector")
        hosts = served.pids("engines.host")
        assert hosts

        async def kill() -> float:
            for pid in hosts:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: is_true(not hosts & served.pids("engines.host")))
            return await until(lambda: answers(served))

        assert await load.during(kill()) < 10
        assert load.account.torn == []
        assert set(load.account.failed) <= TYPED
        assert served.pids("ServeReplica:sightline:Detector") == stages

    served.run(scenario)


async def answers(served: Served) -> bool:
    answer = await asyncio.to_thread(post, served)
    return answer.status_code == 200


def test_a_killed_registry_comes_back_with_its_routes_and_nobody_notices(served: Served) -> None:
    async def scenario(operator: Operator, load: Load) -> None:
        before = await operator.model()
        books = served.pids("ray::ModelBook")
        assert len(books) == 1

        async def kill() -> dict[str, Any]:
            os.kill(*books, signal.SIGKILL)
            await until(lambda: is_back(operator, before))
            return await operator.model()

        after = await load.during(kill())
        assert (load.account.torn, load.account.failed) == ([], {})
        assert (after["route_epoch"], after["routes"]) == (before["route_epoch"], before["routes"])
        assert served.pids("ray::ModelBook").isdisjoint(books)
        primary, other = await other_than_primary(operator)
        await operator.load(other)
        await switched(operator, other)
        await operator.until(primary, {"UNLOADED"})

    served.run(scenario)


async def is_back(operator: Operator, before: dict[str, Any]) -> bool:
    """Whether the registry answers, with every version where it was."""
    try:
        now = await operator.model()
    except httpx.HTTPError:
        return False
    places = [{(one["version"], one["state"]) for one in status["versions"]} for status in (before, now)]
    return places[0] == places[1]


def test_a_killed_stage_comes_back_with_the_version_that_was_swapped_in(served: Served) -> None:
    async def scenario(operator: Operator, load: Load) -> None:
        swapped_in = MARKS[3].version
        await alone(operator, swapped_in)
        await operator.until(FIRST, {"UNLOADED"})
        stages = served.pids("ServeReplica:sightline:Detector")

        async def kill() -> float:
            os.kill(*stages, signal.SIGKILL)
            await until(lambda: is_true(not stages & served.pids("ServeReplica:sightline:Detector")))
            return await until(lambda: answers(served), within_s=60)

        await load.during(kill(), after_s=2.0)
        account = load.account
        assert account.torn == []
        assert set(account.failed) <= TYPED
        assert set(account.versions()) == {swapped_in}
        assert len(served.pids("ServeReplica:sightline:Detector")) == 1

    served.run(scenario)
