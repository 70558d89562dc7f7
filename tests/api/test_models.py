"""`/v1/models`: versions put, tables changed by compare-and-swap, everything that is wrong with a request said."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from app.api import problems
from app.api.application import _RequestId
from app.api.bodies import BodyBudget
from app.api.models import router
from app.core.errors import UnavailableError
from app.pipeline.models import FixedModels, Models
from app.policy.canary import Traffic
from app.policy.lifecycle import Phase
from tests.api.fake_models import FakeModels
from tests.builders import make_spec
from tests.unit.pipeline.registry_world import sha_of

STREET = "/v1/models/street"
ROUTES = f"{STREET}/routes"
TABLE: dict[str, Any] = {"weights": {"1.0.0": 0.7, "2.0.0": 0.3}}
FULL: dict[str, Any] = {
    **TABLE,
    "headers": [{"name": "X-Team", "value": "vision", "version": "2.0.0"}],
    "users": [{"first": 0, "last": 9, "version": "2.0.0"}],
    "regions": {"EU": "1.0.0"},
    "shadow": "2.0.0",
}


def app_over(models: Models) -> FastAPI:
    app = FastAPI()
    app.add_middleware(_RequestId, is_behind_serve=False)
    problems.install(app)
    app.include_router(router(models, budget=BodyBudget(1024**2)))
    return app


def spoken(models: Models, talk: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """What `talk` returns after speaking to the routes over those models."""

    async def inside() -> Any:
        transport = httpx.ASGITransport(app_over(models), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await talk(client)

    return asyncio.run(inside())


def asked(models: Models, method: str, path: str, **options: Any) -> httpx.Response:
    response: httpx.Response = spoken(models, lambda client: client.request(method, path, **options))
    return response


def put_routes(models: Models, body: object = TABLE, *, epoch: str | None = "1") -> httpx.Response:
    headers = {} if epoch is None else {"if-match": epoch}
    return asked(models, "PUT", ROUTES, json=body, headers=headers)


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["request_id"]
    return response.status_code, problem["code"]


def test_models_are_shown_with_their_versions_states_and_epoch() -> None:
    models = FakeModels()
    (listed,) = asked(models, "GET", "/v1/models").json()
    one = asked(models, "GET", STREET)
    assert one.json() == listed
    assert one.headers["etag"] == '"1"'
    assert (listed["model"], listed["route_epoch"]) == ("street", 1)
    assert listed["routes"] == {"weights": {"1.0.0": 1.0}, "headers": [], "users": [], "regions": {}, "shadow": None}
    assert [(each["version"], each["state"], each["weight"]) for each in listed["versions"]] == [
        ("1.0.0", "PRIMARY", 1.0),
        ("2.0.0", "WARM", 0.0),
    ]
    assert listed["versions"][1]["replicas"] == {"r0": "WARM"}
    assert listed["events"][0]["at"].startswith("2001-09-09T01:46:40")
    assert [event["kind"] for event in listed["events"]].count("routes") == 1


def test_what_the_answers_of_a_version_lack_is_shown_by_replica_with_the_reason() -> None:
    models = FakeModels()
    primary, warm = asked(models, "GET", STREET).json()["versions"]
    assert (primary["degraded"], warm["degraded"]) == ({}, {})
    held = models.world.held["r0"]
    held["street", "1.0.0"] = replace(held["street", "1.0.0"], degraded="fewer_frames: frames wait")
    models.world.report("r0")
    primary, warm = asked(models, "GET", STREET).json()["versions"]
    assert (primary["degraded"], warm["degraded"]) == ({"r0": "fewer_frames: frames wait"}, {})


def test_what_was_seen_of_a_candidate_is_shown_with_the_judgement() -> None:
    models = FakeModels()
    put_routes(models)
    models.world.observe("2.0.0", Traffic(answered=60, slow=1), agreement=0.98765, compared=20)
    models.world.clock.now_s += 6.0
    primary, candidate = asked(models, "GET", STREET).json()["versions"]
    assert primary["candidate"] is None
    assert candidate["candidate"] == {
        "answered": 60,
        "errors": 0,
        "slow": 1,
        "agreement": 0.9877,
        "compared": 20,
        "words": "its answers are slow for 6 s; 180 s are allowed",
    }


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/..%2fetc", "/v1/models/%00"])
def test_a_model_that_is_not_there_is_404_whatever_its_name(path: str) -> None:
    assert code(asked(FakeModels(), "GET", path)) == (404, "not_found")


def test_a_version_is_taken_on_and_goes_through_its_states() -> None:
    models = FakeModels()
    put = asked(models, "PUT", f"{STREET}/versions/2.1.0", json={"sha256": sha_of("2.1.0"), "uri": "street/2.1.0"})
    assert put.status_code == 202
    assert (put.json()["model"], put.json()["version"], put.json()["state"]) == ("street", "2.1.0", "LOADING")
    assert put.json()["uri"] == "street/2.1.0"
    models.becomes = Phase.WARM
    assert [each["state"] for each in asked(models, "GET", STREET).json()["versions"]] == ["PRIMARY", "WARM", "WARM"]
    again = asked(models, "PUT", f"{STREET}/versions/2.1.0", json={"sha256": sha_of("2.1.0")})
    assert (again.status_code, again.json()["state"]) == (202, "WARM")
    gone = asked(models, "PUT", f"{STREET}/versions/2.1.0", json={"sha256": sha_of("2.1.0"), "warm": False})
    assert gone.json()["state"] == "DRAINING"


def test_other_content_under_a_given_number_is_a_conflict() -> None:
    put = asked(FakeModels(), "PUT", f"{STREET}/versions/2.0.0", json={"sha256": "c" * 64})
    assert code(put) == (409, "conflict")
    assert "never changes" in put.json()["detail"]


@pytest.mark.parametrize("model", ["Street", ".hidden", "a" * 65, "..", "a..b", "-x", "str%20eet", "%2e%2e%2fetc"])
def test_a_model_that_may_not_be_called_so_is_refused(model: str) -> None:
    put = asked(FakeModels(), "PUT", f"/v1/models/{model}/versions/1.0.0", json={"sha256": "c" * 64})
    assert put.status_code in {404, 422}  # a client folds ".." away, and a decoded slash is another path
    assert code(put)[1] in {"not_found", "invalid_parameter"}


@pytest.mark.parametrize(
    "version", ["1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.-1", "1.0.0 ", "\uff11.0.0", "1.0.x"]
)
def test_a_version_that_is_not_three_numbers_is_refused(version: str) -> None:
    put = asked(FakeModels(), "PUT", f"{STREET}/versions/{version}", json={"sha256": "c" * 64})
    assert code(put) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"sha256": "a", "sha256": "b"}', 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (json.dumps({"sha256": "C" * 64}).encode(), 422),
        (json.dumps({"sha256": "c" * 63}).encode(), 422),
        (json.dumps({"sha256": "c" * 64 + "\n"}).encode(), 422),
        (json.dumps({"sha256": "c" * 64, "warm": "yes"}).encode(), 422),
        (json.dumps({"sha256": "c" * 64, "uri": "../../etc/passwd"}).encode(), 422),
        (json.dumps({"sha256": "c" * 64, "uri": "a b"}).encode(), 422),
        (json.dumps({"sha256": "c" * 64, "path": "x"}).encode(), 422),
        (b'{"sha256": "' + b"c" * 300_000 + b'"}', 413),
    ],
)
def test_a_version_that_is_described_wrongly_is_refused(body: bytes, status: int) -> None:
    put = asked(FakeModels(), "PUT", f"{STREET}/versions/2.1.0", content=body)
    assert code(put)[0] == status


def test_a_whole_table_is_put_and_shown_as_it_was_put() -> None:
    models = FakeModels()
    done = put_routes(models, FULL, epoch='"1"')
    assert (done.status_code, done.headers["etag"], done.json()["route_epoch"]) == (200, '"2"', 2)
    shown = asked(models, "GET", STREET).json()
    assert shown["routes"]["weights"] == TABLE["weights"]
    assert shown["routes"]["headers"] == [{"name": "x-team", "value": "vision", "version": "2.0.0"}]
    assert shown["routes"]["regions"] == {"eu": "1.0.0"}
    assert [each["state"] for each in shown["versions"]] == ["PRIMARY", "CANARY"]
    again = asked(models, "PUT", ROUTES, json=shown["routes"], headers={"if-match": "2"})
    assert again.json()["routes"] == shown["routes"]


def test_of_two_who_race_one_wins_and_the_other_hears_the_epoch() -> None:
    models = FakeModels()

    async def race(client: httpx.AsyncClient) -> list[httpx.Response]:
        puts = (client.put(ROUTES, json=TABLE, headers={"if-match": '"1"'}) for _ in range(8))
        return list(await asyncio.gather(*puts))

    answers = spoken(models, race)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert lost.headers["etag"] == '"2"'
    assert "is 2, not 1" in lost.json()["detail"]
    assert asked(models, "GET", STREET).json()["route_epoch"] == 2


@pytest.mark.parametrize("epoch", [None, "", "*", 'W/"1"', '"1", "2"', "one", '"-1"', "1.0", '"1', "9" * 30])
def test_a_change_without_one_epoch_to_match_is_400(epoch: str | None) -> None:
    models = FakeModels()
    assert code(put_routes(models, epoch=epoch)) == (400, "invalid_request")
    assert asked(models, "GET", STREET).json()["route_epoch"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": {"1.0.0": 0.7, "2.0.0": 0.2}}, "they sum to 0.90"),
        ({"weights": {"1.0.0": 0.995, "2.0.0": 0.005}}, "steps of 0.01"),
        ({"weights": {"1.0.0": "1"}}, "weights"),
        ({"weights": {"1.0.0": True}}, "weights"),
        ({"weights": {}}, "weights"),
        ({"weights": {"1.0": 1.0}}, "weights"),
        ({"weights": None}, "weights"),
        ({"headers": [{"name": "x", "value": "y"}]}, "headers.0.version"),
        ({"headers": [{"name": "cookie", "value": "y", "version": "1.0.0"}]}, "secret"),
        ({"users": [{"first": 0, "last": 1000, "version": "1.0.0"}]}, "users.0.last"),
        ({"users": [{"first": 9, "last": 1, "version": "1.0.0"}]}, "first ≤ last"),
        ({"regions": {"eu": "new"}}, "regions"),
        ({"shadow": "newest"}, "shadow"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_table_that_is_wrong_is_422_and_says_where(change: dict[str, Any], words: str) -> None:
    models = FakeModels()
    refused = put_routes(models, {**TABLE, **change})
    assert code(refused) == (422, "invalid_parameter")
    assert words in refused.json()["detail"]
    assert asked(models, "GET", STREET).json()["route_epoch"] == 1


def test_a_weight_that_is_no_number_in_json_is_refused() -> None:
    nan = b'{"weights": {"1.0.0": NaN}}'
    assert code(asked(FakeModels(), "PUT", ROUTES, content=nan, headers={"if-match": "1"})) == (
        422,
        "invalid_parameter",
    )
    twice = b'{"weights": {"1.0.0": 0.5, "1.0.0": 1.0}}'
    assert code(asked(FakeModels(), "PUT", ROUTES, content=twice, headers={"if-match": "1"}))[0] == 400


def test_a_version_that_is_not_ready_keeps_the_whole_table_out() -> None:
    models = FakeModels()
    models.world.put("3.0.0")
    refused = put_routes(models, {"weights": {"2.0.0": 0.9, "3.0.0": 0.1}})
    assert code(refused) == (409, "conflict")
    assert "3.0.0 is LOADING" in refused.json()["detail"]
    assert refused.headers["etag"] == '"1"'
    assert "no version 9.9.9" in put_routes(models, {"weights": {"9.9.9": 1.0}}).json()["detail"]
    assert code(asked(models, "PUT", "/v1/models/other/routes", json=TABLE, headers={"if-match": "0"}))[0] == 404


def test_a_registry_that_is_away_is_503_and_says_when() -> None:
    models = FakeModels()
    models.fails = UnavailableError("the registry of models is restarting", 2.0)
    away = put_routes(models)
    assert code(away) == (503, "unavailable")
    assert away.headers["retry-after"] == "2"


def test_a_process_with_one_fixed_model_shows_it_and_changes_nothing() -> None:
    models = FixedModels(make_spec())
    (listed,) = asked(models, "GET", "/v1/models").json()
    assert [(each["version"], each["state"]) for each in listed["versions"]] == [("1.0.0", "PRIMARY")]
    put = asked(models, "PUT", "/v1/models/test/versions/2.0.0", json={"sha256": "c" * 64})
    assert code(put) == (409, "conflict")
    routed = asked(models, "PUT", "/v1/models/test/routes", json=TABLE, headers={"if-match": "1"})
    assert code(routed) == (409, "conflict")
    assert "one model of its settings" in routed.json()["detail"]


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["weights", "headers", "users", "regions", "shadow", "1.0.0", "first", "version"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_json_at_all_is_an_internal_error(body: object) -> None:
    models = NOTHING_CHANGES
    answer = asked(models, "PUT", ROUTES, content=json.dumps(body).encode(), headers={"if-match": "1"})
    assert answer.status_code in {409, 422}


NOTHING_CHANGES = FixedModels(make_spec())


def test_openapi_describes_the_bodies_without_dangling_references() -> None:
    document = app_over(FakeModels()).openapi()
    put = document["paths"]["/v1/models/{model}/routes"]["put"]
    assert "$ref" not in json.dumps(put["requestBody"])
    assert put["requestBody"]["content"]["application/json"]["schema"]["required"] == ["weights"]
    assert any(each["name"] == "If-Match" for each in put["parameters"])
