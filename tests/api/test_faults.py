"""Faults over HTTP and from the command line, over a real inbox; and a service in which they do not exist."""

import argparse
import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api import faults as routes
from app.api.bodies import BodyBudget
from app.command import fault_arguments
from app.command import faults as command
from app.core.errors import InvalidParameterError, SightlineError
from app.pipeline.fault_inbox import FaultInbox, LocalFaults
from app.policy.fault_plan import FAULTS, TABLE, Fault, GpuOom, SlowKernel, StickyError
from tests.api.conftest import Service
from tests.api.live_wire import behind_uvicorn
from tests.api.test_detections import assert_problem
from tests.fakes import ManualClock

URL = "/v1/admin/faults"


class Planted:
    """A service that allows faults."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inbox = FaultInbox(clock=self.clock)
        self.budget = BodyBudget(10_000)
        self.app: FastAPI = Service().app
        self.app.include_router(routes.router(LocalFaults(self.inbox), budget=self.budget))

    def call(self, method: str, url: str = URL, **options: Any) -> httpx.Response:
        return call(self.app, method, url, **options)


def call(app: FastAPI, method: str, url: str = URL, **options: Any) -> httpx.Response:
    async def inside() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, url, **options)

    return asyncio.run(inside())


@pytest.fixture
def planted() -> Planted:
    return Planted()


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_can_be_planted_by_its_kind(planted: Planted, kind: type[Fault]) -> None:
    answer = planted.call("POST", json={"fault": {"kind": kind().kind}})
    assert answer.status_code == 201
    assert answer.json()["expires_in_s"] == 30
    assert planted.inbox.active(kind) == kind()
    assert planted.budget.held == 0


def test_a_fault_is_planted_with_its_numbers_listed_and_taken_back(planted: Planted) -> None:
    body = {"fault": {"kind": "slow_kernel", "factor": 2.5}, "expires_s": 12}
    fault_id = planted.call("POST", json=body).json()["fault_id"]
    assert planted.inbox.active(SlowKernel) == SlowKernel(factor=2.5)
    planted.clock.now_s = 2.0
    expected = {"fault_id": fault_id, "fault": {"kind": "slow_kernel", "factor": 2.5}, "expires_in_s": 10.0}
    assert planted.call("GET").json() == [expected]
    assert planted.call("DELETE", f"{URL}/{fault_id}").json() == expected
    assert planted.call("GET").json() == []
    assert_problem(planted.call("DELETE", f"{URL}/{fault_id}"), 404, "not_found")


def test_a_fault_that_expired_is_not_there_any_more(planted: Planted) -> None:
    fault_id = planted.call("POST", json={"fault": {"kind": "gpu_oom"}}).json()["fault_id"]
    planted.clock.now_s = 30.0
    assert planted.call("GET").json() == []
    assert_problem(planted.call("DELETE", f"{URL}/{fault_id}"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "fault"),
        ({"fault": {"kind": "fire"}}, "kind"),
        ({"fault": {}}, "kind"),
        ({"fault": {"kind": "gpu_oom", "share": 2}}, "share must lie"),
        ({"fault": {"kind": "gpu_oom", "share": "much"}}, "share"),
        ({"fault": {"kind": "gpu_oom", "factor": 2}}, "factor"),
        ({"fault": {"kind": "link_degradation", "lanes": 3}}, "lanes must be"),
        ({"fault": {"kind": "gpu_oom"}, "expires_s": 0}, "expires_s"),
        ({"fault": {"kind": "gpu_oom"}, "expires_s": 3601}, "expires_s"),
        ({"fault": {"kind": "gpu_oom"}, "until": "noon"}, "until"),
        ([], "object"),
        (7, "object"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_and_plants_nothing(planted: Planted, body: object, words: str) -> None:
    answer = planted.call("POST", json=body)
    assert_problem(answer, 422, "invalid_parameter")
    assert words in answer.json()["detail"]
    assert planted.inbox.planted() == []


@pytest.mark.parametrize("content", [b"not JSON", b"[" * 4000, b'{"fault": NaN', b"\xff"])
def test_a_body_that_is_no_json_is_malformed(planted: Planted, content: bytes) -> None:
    assert_problem(planted.call("POST", content=content), 400, "invalid_request")


def test_a_body_may_be_small_only(planted: Planted) -> None:
    assert_problem(planted.call("POST", content=b" " * 5000), 413, "too_large")


@pytest.mark.parametrize(("method", "url"), [("POST", URL), ("GET", URL), ("DELETE", f"{URL}/0123456789abcdef")])
def test_where_faults_are_not_allowed_it_is_as_if_there_were_no_such_thing(method: str, url: str) -> None:
    app = Service().app
    refused, nowhere = call(app, method, url), call(app, method, "/v1/no/such/thing")
    assert_problem(refused, 404, "not_found")
    same = [{name: v for name, v in answer.json().items() if name != "request_id"} for answer in (refused, nowhere)]
    assert same[0] == same[1]
    assert URL not in json.dumps(call(app, "GET", "/openapi.json").json())


def test_the_openapi_document_describes_the_body(planted: Planted) -> None:
    document = planted.call("GET", "/openapi.json").json()["paths"][URL]["post"]["requestBody"]
    assert "sticky_error" in json.dumps(document)
    assert document["required"]


def sightline(app: FastAPI, *words: str) -> int:
    """The exit code of `sightline faults` with these words, against a real server."""
    parser = argparse.ArgumentParser()
    fault_arguments.add_arguments(parser)

    async def inside() -> int:
        async with behind_uvicorn(app) as port:
            return await command.run(parser.parse_args([*words, "--url", f"http://127.0.0.1:{port}"]))

    return asyncio.run(inside())


def test_the_command_line_plants_lists_and_takes_back(planted: Planted, capfd: pytest.CaptureFixture[str]) -> None:
    assert sightline(planted.app, "inject", "gpu_oom", "--set", "share=0.5", "--expires", "9") == 0
    told = capfd.readouterr()
    fault_id = told.out.strip()
    assert told.err == "planted for 9 s\n"
    assert planted.inbox.active(GpuOom) == GpuOom(share=0.5)
    sightline(planted.app, "inject", "sticky_error")
    capfd.readouterr()
    assert sightline(planted.app, "list") == 0
    listed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["fault"]["kind"] for one in listed] == ["gpu_oom", "sticky_error"]
    assert sightline(planted.app, "clear", fault_id) == 0
    assert [one.fault for one in planted.inbox.planted()] == [StickyError()]
    assert sightline(planted.app, "clear") == 0
    assert planted.inbox.planted() == []
    assert capfd.readouterr().err == "1 taken back\n1 taken back\n"


def test_the_command_line_says_what_the_service_refused(planted: Planted) -> None:
    with pytest.raises(SightlineError, match="share must lie"):
        sightline(planted.app, "inject", "gpu_oom", "--set", "share=7")
    with pytest.raises(InvalidParameterError, match="a name, = and a number"):
        sightline(planted.app, "inject", "gpu_oom", "--set", "share")


def test_the_command_line_knows_every_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sightline(Service().app, "inject", "--help")
    text = capfd.readouterr().out
    assert [row.kind for row in TABLE if row.kind not in text] == []
