"""`sightline models` against a running service: data on stdout, words on stderr, exit codes."""

import argparse
import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.client.models import AsyncModels
from app.command import models, models_arguments
from app.core.errors import ConflictError, DeadlineError, InvalidParameterError, InvalidRequestError, NotFoundError
from app.policy.lifecycle import Phase
from tests.api.fake_models import FakeModels
from tests.api.live_wire import behind_uvicorn
from tests.api.test_models import app_over
from tests.unit.pipeline.registry_world import sha_of


@dataclass(slots=True)
class Service:
    url: str
    models: FakeModels


@pytest.fixture
def service() -> Iterator[Service]:
    """The routes of models behind a real server, on an event loop in a thread of its own."""
    ready, over, ports = threading.Event(), threading.Event(), list[int]()
    fake = FakeModels()

    async def serve() -> None:
        async with behind_uvicorn(app_over(fake)) as port:
            ports.append(port)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        assert ready.wait(20)
        yield Service(f"http://127.0.0.1:{ports[0]}", fake)
    finally:
        over.set()
        thread.join()


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    models_arguments.add_arguments(parser)
    return parser.parse_args(words)


def command(service: Service, *words: str) -> int:
    arguments = parsed(*words, "--url", service.url)
    assert models_arguments.wrong_usage(arguments) is None
    return asyncio.run(models.run(arguments))


def test_models_are_listed_for_people_and_for_programs(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(service, "list") == 0
    people = capfd.readouterr().out.splitlines()
    assert people[0] == "street  route epoch 1"
    assert people[1].split() == ["1.0.0", "PRIMARY", "1.00", "on", "1", "replicas"]
    assert command(service, "list", "--json") == 0
    (listed,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert listed["routes"]["weights"] == {"1.0.0": 1.0}
    assert [each["state"] for each in listed["versions"]] == ["PRIMARY", "WARM"]


def test_a_version_is_added_waited_for_and_let_go(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    add = ("add", "street", "2.1.0", "--sha256", sha_of("2.1.0"))
    assert command(service, *add) == 0
    assert capfd.readouterr().out == "LOADING\n"
    with pytest.raises(DeadlineError, match=r"2\.1\.0 is still LOADING after 0\.3 s"):
        command(service, *add, "--wait", "0.3")
    service.models.becomes = Phase.WARM
    assert command(service, *add, "--wait", "20") == 0
    assert capfd.readouterr().out == "WARM\n"
    assert command(service, *add, "--unload") == 0
    told = capfd.readouterr()
    assert told.out == "DRAINING\n"
    assert "no longer asked for" in told.err


def test_a_version_that_fails_is_a_failure_with_its_reason(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    service.models.becomes = Phase.FAILED
    assert command(service, "add", "street", "2.1.0", "--sha256", "a" * 64, "--wait", "20") == 1
    told = capfd.readouterr()
    assert told.out == "FAILED\n"
    assert "the file is broken" in told.err


def test_routes_are_changed_from_the_present_epoch(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(service, "route", "street", "1.0.0=0.75", "2.0.0=0.25") == 0
    told = capfd.readouterr()
    assert told.out == "2\n"
    assert told.err == "street: 1.0.0 0.75, 2.0.0 0.25\n"
    assert command(service, "route", "street", "1.0.0=1", "--shadow", "2.0.0") == 0
    assert service.models.world.status.routes is not None
    assert service.models.world.status.routes.shadow == "2.0.0"


def test_a_whole_table_comes_from_a_file(service: Service, tmp_path: Path) -> None:
    table = tmp_path / "routes.json"
    users = [{"first": 0, "last": 9, "version": "2.0.0"}]
    headers = [{"name": "x-team", "value": "vision", "version": "2.0.0"}]
    table.write_text(json.dumps({"weights": {"1.0.0": 1.0}, "users": users, "headers": headers}))
    assert command(service, "route", "street", "--table", str(table), "--epoch", "1") == 0

    async def shown() -> tuple[int, int]:
        async with AsyncModels(service.url) as client:
            info = await client.show("street")
            assert info.routes is not None
            return info.routes.users[0].last, len(info.routes.headers)

    assert asyncio.run(shown()) == (9, 1)
    table.write_text("[]")
    with pytest.raises(InvalidRequestError, match="holds no JSON object"):
        command(service, "route", "street", "--table", str(table))


def test_a_lost_race_and_a_wrong_table_are_the_services_own_errors(service: Service) -> None:
    with pytest.raises(ConflictError, match="is 1, not 0"):
        command(service, "route", "street", "1.0.0=1", "--epoch", "0")
    with pytest.raises(InvalidParameterError, match=r"sum to 0\.90"):
        command(service, "route", "street", "1.0.0=0.9")
    with pytest.raises(NotFoundError):
        command(service, "route", "other", "1.0.0=1")
    with pytest.raises(InvalidParameterError, match="sha256"):
        command(service, "add", "street", "2.1.0", "--sha256", "no")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("route", "street"), "give the weights, or --table"),
        (("route", "street", "1.0.0=1", "--table", "x.json"), "give the weights, or --table"),
        (("route", "street", "--table", "x.json", "--shadow", "1.0.0"), "stands in the file"),
        (("route", "street", "1.0.0=0.5", "1.0.0=0.5"), "each version once"),
        (("add", "street", "1.0.0", "--sha256", "a", "--unload", "--wait", "1"), "--wait goes with loading"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], wrong: str) -> None:
    assert wrong in str(models_arguments.wrong_usage(parsed(*words)))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("add", "street", "1.0.0"),
        ("route", "street", "1.0.0"),
        ("route", "street", "1.0.0=half"),
        ("add", "street", "1.0.0", "--sha256", "a", "--wait", "0"),
    ],
)
def test_arguments_that_cannot_be_read_are_exit_code_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as left:
        parsed(*words)
    assert left.value.code == 2
