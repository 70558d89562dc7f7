"""Over gRPC a caller asks for a version as over HTTP: by metadata, behind a real server."""

import asyncio

import grpc
import pytest

from app.contract.vision_pb2 import STATUS_RESULT, FrameResult, Image
from app.core.errors import ConflictError
from app.core.routing import Route
from app.pipeline.models import FixedModels
from app.policy.route_table import Ask
from tests.api.fake_host import FakeHost
from tests.api.grpc_served import calling
from tests.api.live_wire import Replica
from tests.builders import make_spec

VERSION = make_spec().version


class WitnessModels(FixedModels):
    """Notes who asks for what; `fails` is raised instead of an answer."""

    def __init__(self) -> None:
        super().__init__(make_spec())
        self.asks: list[Ask] = []
        self.fails: Exception | None = None

    def route(self, ask: Ask, model: str | None = None) -> Route:
        self.asks.append(ask)
        if self.fails is not None:
            raise self.fails
        return super().route(ask, model)


def detect(models: WitnessModels, *metadata: tuple[str, str | bytes]) -> FrameResult:
    async def inside() -> FrameResult:
        async with calling(models, Replica(host=FakeHost()).ports) as stub:
            return await stub.Detect(Image(data=b"jpg"), metadata=metadata)

    return asyncio.run(inside())


def refused(models: WitnessModels, *metadata: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        detect(models, *metadata)
    return caught.value


def wish(version: str) -> tuple[str, str]:
    return "accept", f"application/vnd.sightline.vision.v{version}+json"


@pytest.mark.parametrize("version", [VERSION, VERSION.partition(".")[0]])
def test_a_version_that_is_there_answers(version: str) -> None:
    models = WitnessModels()
    assert detect(models, wish(version)).status == STATUS_RESULT
    assert [ask.wanted for ask in models.asks] == [(version,)]


def test_a_version_that_is_not_there_is_not_found_and_those_there_are_are_named() -> None:
    error = refused(WitnessModels(), wish("9.1"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "9.1" in str(error.details())
    assert VERSION in str(error.details())
    assert ("sightline-code", "not_acceptable") in list(error.trailing_metadata())


def test_a_version_that_is_not_ready_is_a_failed_precondition() -> None:
    models = WitnessModels()
    models.fails = ConflictError("version 2.0.0 is LOADING")
    error = refused(models, wish("2.0.0"))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "version 2.0.0 is LOADING")


def test_whoever_asks_for_nothing_gets_what_the_routes_say() -> None:
    models = WitnessModels()
    assert detect(models).status == STATUS_RESULT
    assert detect(models, ("accept", "text/html")).status == STATUS_RESULT
    assert [ask.wanted for ask in models.asks] == [(), ()]
    assert models.asks[0].draw != models.asks[1].draw


def test_users_regions_and_headers_are_told_as_over_http() -> None:
    models = WitnessModels()
    detect(models, ("x-user-id", "ada"), ("x-region", "eu"), ("x-team", "red"), ("x-trace-bin", b"\xff\x00"))
    (ask,) = models.asks
    assert (ask.user, ask.region, ask.headers["x-team"]) == ("ada", "eu", "red")
    assert "x-trace-bin" not in ask.headers


def test_wishes_in_several_entries_are_one_list() -> None:
    models = WitnessModels()
    assert detect(models, wish("9"), wish(VERSION)).status == STATUS_RESULT
    assert [set(ask.wanted) for ask in models.asks] == [{"9", VERSION}]
