from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.core.errors import UnavailableError
from tests.api.test_detections import IMAGE, JPEG, assert_problem


def test_the_front_door_leads_to_the_documentation(run: Any) -> None:
    response = run(lambda s: s.get("/"))
    assert response.status_code == 307
    assert response.headers["location"] == "docs"
    assert run(lambda s: s.get("/docs")).status_code == 200


def test_the_process_is_alive(run: Any) -> None:
    assert run(lambda s: s.get("/healthz")).json() == {"status": "alive"}


def test_ready_means_that_a_picture_went_the_whole_way(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        response = await service.get("/readyz")
        return response.status_code, len(service.chain.batches)

    assert run(scenario) == (200, 1)


def test_a_path_that_does_not_answer_is_not_ready(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        def die(_frames: object) -> None:
            raise UnavailableError

        service.chain.on_detect = die
        return await service.get("/readyz")

    assert_problem(run(scenario), 503, "unavailable")


@pytest.mark.parametrize("name", ["FrameResult", "Gap", "Summary"])
def test_the_schemas_are_valid_and_served(run: Any, name: str) -> None:
    response = run(lambda s: s.get(f"/schemas/{name}.json"))
    assert response.status_code == 200
    Draft202012Validator.check_schema(response.json())


def test_every_answer_follows_its_schema(run: Any) -> None:
    schema = run(lambda s: s.get("/schemas/FrameResult.json")).json()
    result = run(lambda s: s.post("/v1/detections", content=IMAGE, headers=JPEG)).json()
    Draft202012Validator(schema).validate(result)
    spoilt = {**result, "objects": [{"label": 7}]}
    assert not Draft202012Validator(schema).is_valid(spoilt)


@pytest.mark.parametrize(("url", "status"), [("/v1/nothing", 404), ("/schemas/Nothing.json", 404), ("/v1/videos", 405)])
def test_what_is_not_there_is_a_problem_too(run: Any, url: str, status: int) -> None:
    response = run(lambda s: s.get(url))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_the_openapi_document_names_the_routes_of_the_contract(run: Any) -> None:
    paths = run(lambda s: s.get("/openapi.json")).json()["paths"]
    routes = {f"/v1/{name}" for name in ("detections", "videos", "pipelines/preview", "moments")}
    routes.add("/v1/autoscaling/explain")
    routes |= {"/healthz", "/readyz", "/schemas/{name}.json"}
    of_one = ("", "/frames", "/events", "/preview")
    streams = {"/v1/streams", *(f"/v1/streams/{{stream_id}}{rest}" for rest in of_one)}
    models = {f"/v1/models{rest}" for rest in ("", "/{model}", "/{model}/versions/{version}", "/{model}/routes")}
    assert routes | streams | models == set(paths)


BODIES = [
    *((url, body) for url in ("/v1/detections", "/v1/pipelines/preview") for body in ("image/jpeg", "image/webp")),
    ("/v1/detections", "application/octet-stream"),
    ("/v1/detections", "application/json"),
    ("/v1/detections", "application/vnd.sightline.rgb;width=W;height=H"),
    ("/v1/detections", "multipart/form-data"),
    ("/v1/pipelines/preview", "application/json"),
    ("/v1/videos", "video/*"),
]


@pytest.mark.parametrize(("url", "body"), BODIES)
def test_the_openapi_document_describes_the_bodies(run: Any, url: str, body: str) -> None:
    document = run(lambda s: s.get("/openapi.json")).json()
    request_body = document["paths"][url]["post"]["requestBody"]
    assert request_body["required"]
    Draft202012Validator.check_schema(request_body["content"][body]["schema"])


@pytest.mark.parametrize("url", ["/v1/detections", "/v1/videos", "/v1/pipelines/preview"])
def test_every_described_body_is_one_that_is_taken(run: Any, url: str) -> None:
    """Each may fail for its content, none for its type."""
    content = run(lambda s: s.get("/openapi.json")).json()["paths"][url]["post"]["requestBody"]["content"]
    types = [media_type.replace("*", "mp4").replace("=W", "=2").replace("=H", "=2") for media_type in content]
    answers = [run(lambda s, t=t: s.post(url, content=b"xx", headers={"content-type": t})) for t in types]
    assert not [answer.text for answer in answers if "declared as" in answer.text]
    refused = run(lambda s: s.post(url, content=b"xx", headers={"content-type": "text/plain"}))
    assert "declared as" in refused.text


def test_the_preview_is_documented_as_a_jpeg(run: Any) -> None:
    paths = run(lambda s: s.get("/openapi.json")).json()["paths"]
    assert set(paths["/v1/pipelines/preview"]["post"]["responses"]["200"]["content"]) == {"image/jpeg"}
