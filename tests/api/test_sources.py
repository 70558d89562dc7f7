import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.application import ApiLimits
from app.api.bodies import BodyLimits
from tests.api.conftest import Service
from tests.api.test_detections import IMAGE, JPEG, assert_problem

URL = "/v1/detections"
JSON_TYPE = {"content-type": "application/json"}


def raw_type(parameters: str) -> dict[str, str]:
    return {"content-type": f"application/vnd.sightline.rgb{parameters}"}


def base64_of(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def in_room(scenario: Callable[[Service], Coroutine[Any, Any, Any]]) -> Any:
    """Run a scenario where the budget is not what is looked at."""

    async def inside() -> Any:
        return await scenario(Service(ApiLimits(bodies=BodyLimits(max_image_bytes=1000))))

    return asyncio.run(inside())


def received(service: Service) -> list[bytes]:
    return [bytes(frame.data) for batch in service.chain.batches for frame in batch]


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_base64_is_the_image_that_it_holds(run: Any, media_type: str) -> None:
    async def scenario(service: Service) -> Any:
        body = json.dumps(base64_of(IMAGE))
        response = await service.post(URL, content=body, headers={"content-type": media_type})
        return response, received(service)

    response, images = run(scenario)
    assert response.status_code == 200
    assert response.json()["status"] == "result"
    assert images == [IMAGE]


def test_base64_with_escaped_slashes_up_to_the_very_limit_is_taken() -> None:
    async def scenario(service: Service) -> Any:
        body = json.dumps(base64_of(b"\xff" * 1000)).replace("/", "\\/")
        response = await service.post(URL, content=body, headers=JSON_TYPE)
        return response.status_code, received(service)

    assert in_room(scenario) == (200, [b"\xff" * 1000])


@pytest.mark.parametrize("size", [1001, 1002, 1003, 5000, 50_000])
def test_base64_of_too_large_an_image_is_too_large(size: int) -> None:
    assert_problem(in_room(lambda s: s.post(URL, json=base64_of(bytes(size)))), 413, "too_large")


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xd8\xff", b"{'base64': 'AA=='}", b"[" * 10_000, b'{"base64": "\xff"}', b"1" * 5000, b" "]
)
def test_what_is_no_json_is_malformed(content: bytes) -> None:
    assert_problem(in_room(lambda s: s.post(URL, content=content, headers=JSON_TYPE)), 400, "invalid_request")


@pytest.mark.parametrize(
    "content",
    [
        "null",
        "7",
        '"AAAA"',
        "[]",
        "{}",
        '[["base64", "AAAA"]]',
        '[{"base64": "AAAA"}]',
        '{"base64": null}',
        '{"base64": 7}',
        '{"base64": ["AAAA"]}',
        '{"base64": {"base64": "AAAA"}}',
        '{"base64": "AAAA", "url": "https://images.example.com/a"}',
        '{"base64": "AAAA", "base64": "BBBB"}',
        '{"base64": "AAAA", "more": 1}',
        '{"Base64": "AAAA"}',
        '{"path": "/etc/passwd"}',
        '{"base64": ""}',
        '{"base64": "A"}',
        '{"base64": "AAA"}',
        '{"base64": "AA=A"}',
        '{"base64": "AAAA===="}',
        '{"base64": "AAAA AAAA"}',
        '{"base64": "AAAA\\nAAAA"}',
        '{"base64": "_-AA"}',
        '{"base64": "data:image/jpeg;base64,AAAA"}',
        '{"base64": "\\u0430AAA"}',
        '{"base64": "\\ud800"}',
        '{"url": "https://images.example.com/a.jpg"}',
        '{"url": ""}',
    ],
)
def test_json_of_another_shape_is_refused(run: Any, content: str) -> None:
    assert_problem(run(lambda s: s.post(URL, content=content, headers=JSON_TYPE)), 422, "invalid_parameter")


def test_without_a_list_of_hosts_the_answer_says_what_to_send_instead(run: Any) -> None:
    response = run(lambda s: s.post(URL, json={"url": "https://images.example.com/a.jpg"}))
    assert_problem(response, 422, "invalid_parameter")
    assert "fetches no URLs; send the image itself" in response.json()["detail"]


def test_bodies_of_every_kind_give_their_memory_back(run: Any) -> None:
    async def scenario(service: Service) -> set[int]:
        answers = [await service.post(URL, json=base64_of(bytes(900))) for _ in range(8)]
        answers += [
            await service.post(URL, content=bytes(900), headers=raw_type(";width=20;height=15")) for _ in range(8)
        ]
        answers += [await service.post(URL, content=b"bad", headers=JPEG) for _ in range(8)]
        return {answer.status_code for answer in answers}

    assert run(scenario) == {200, 422}


def test_what_base64_unpacks_to_counts_against_the_budget() -> None:
    async def scenario() -> httpx.Response:
        bodies = BodyLimits(max_image_bytes=1000, budget_bytes=3000)
        return await Service(ApiLimits(bodies=bodies)).post(URL, json=base64_of(bytes(900)))

    assert_problem(asyncio.run(scenario()), 503, "overloaded")


@pytest.mark.parametrize("parameters", [";width=4;height=3", "; height=3 ; WIDTH=4"])
def test_raw_pixels_go_on_as_the_very_bytes_of_the_body(run: Any, parameters: str) -> None:
    async def scenario(service: Service) -> Any:
        body = bytes(range(36))
        response = await service.post(URL, content=body, headers=raw_type(parameters))
        frame = service.chain.batches[0][0]
        shared = np.shares_memory(np.frombuffer(frame.data, np.uint8), np.frombuffer(body, np.uint8))
        return response.status_code, frame.raw_size_px, shared

    assert run(scenario) == (200, (4, 3), True)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";width=4",
        ";width=4;height=0",
        ";width=4;height=-3",
        ";width=4;height=3.0",
        ";width=4;height=٣",
        ";width=4;height=3;depth=8",
        ";width=4;height=3;height=3",
        ";width=4;height=3;",
        ";width=4;height=9999999",
        ";width=3;height=3",
        ";width=4;height=4",
    ],
)
def test_raw_pixels_of_another_size_are_refused(run: Any, parameters: str) -> None:
    headers = {"content-type": raw_type(parameters)["content-type"].encode()}
    response = run(lambda s: s.post(URL, content=bytes(36), headers=headers))
    assert_problem(response, 422, "invalid_parameter")


def test_raw_pixels_over_the_limit_are_too_large_before_they_are_read(run: Any) -> None:
    response = run(lambda s: s.post(URL, content=bytes(36), headers=raw_type(";width=400;height=300")))
    assert_problem(response, 413, "too_large")
