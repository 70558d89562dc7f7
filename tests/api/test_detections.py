import asyncio
import json
from typing import Any

import httpx
import pytest

from app.core.errors import UnavailableError

IMAGE = b"\xff\xd8 an image, as far as the fake chain cares"
JPEG = {"content-type": "image/jpeg"}
PROBLEM = {"type", "title", "status", "detail", "code", "request_id"}


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == PROBLEM
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    assert ".py" not in response.text


def test_an_image_gives_a_frame_result(run: Any) -> None:
    response = run(lambda s: s.post("/v1/detections", content=IMAGE, headers=JPEG))
    assert response.status_code == 200
    result = response.json()
    assert (result["status"], result["seq"], result["width_px"], result["height_px"]) == ("result", 0, 1920, 1080)
    assert result["objects"] == [{"label": "person", "class_id": 0, "score": 0.9, "box": [1.0, 2.0, 30.0, 40.0]}]
    assert set(result["timings"]) >= {"decode_s", "preprocess_s", "queue_s", "inference_s", "postprocess_s", "total_s"}


def test_the_query_reaches_the_stages(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        url = "/v1/detections?conf=0.4&iou=0.6&classes=car,person&roi=0,0.25,1,0.75&tile=2"
        await service.post(url, content=IMAGE, headers=JPEG)
        return service.chain.batches[0][0].query

    query = run(scenario)
    assert (query.conf, query.iou, query.tile) == (0.4, 0.6, 2)
    assert query.classes == {"car", "person"}
    assert query.roi == (0.0, 0.25, 1.0, 0.75)


@pytest.mark.parametrize(
    "query",
    [
        "conf=nan",
        "conf=-0.1",
        "conf=1.5",
        "conf=inf",
        "conf=abc",
        "iou=nan",
        "iou=-1",
        "classes=dragon",
        "classes=",
        "roi=0,0,1",
        "roi=nan,0,1,1",
        "roi=0.5,0,0.5,1",
        "roi=-0.1,0,1,1",
        "roi=a,b,c,d",
        "tile=0",
        "tile=100",
        "tile=nan",
    ],
)
def test_a_value_out_of_range_is_refused_by_name(run: Any, query: str) -> None:
    response = run(lambda s: s.post(f"/v1/detections?{query}", content=IMAGE, headers=JPEG))
    assert_problem(response, 422, "invalid_parameter")
    assert query.split("=", maxsplit=1)[0] in response.json()["detail"]


def test_an_empty_body_is_malformed(run: Any) -> None:
    assert_problem(run(lambda s: s.post("/v1/detections", content=b"", headers=JPEG)), 400, "invalid_request")


@pytest.mark.parametrize("media_type", ["text/plain", "text/json", "video/mp4", "application/vnd.sightline.rgba"])
def test_a_body_declared_as_something_else_is_unsupported(run: Any, media_type: str) -> None:
    response = run(lambda s: s.post("/v1/detections", content=IMAGE, headers={"content-type": media_type}))
    assert_problem(response, 415, "unsupported_media")


@pytest.mark.parametrize("media_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_the_bytes_decide_and_not_the_declared_image_type(run: Any, media_type: str) -> None:
    response = run(lambda s: s.post("/v1/detections", content=IMAGE, headers={"content-type": media_type}))
    assert response.status_code == 200


def test_a_body_over_the_limit_is_too_large(run: Any) -> None:
    assert_problem(run(lambda s: s.post("/v1/detections", content=bytes(1001), headers=JPEG)), 413, "too_large")


def test_a_body_over_the_limit_without_a_declared_length_is_too_large(run: Any) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield bytes(100)

    assert_problem(run(lambda s: s.post("/v1/detections", content=pieces(), headers=JPEG)), 413, "too_large")


def test_an_image_that_cannot_be_decoded_is_a_422(run: Any) -> None:
    assert_problem(run(lambda s: s.post("/v1/detections", content=b"bad", headers=JPEG)), 422, "undecodable")


def test_a_fault_of_ours_leaks_nothing(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        def explode(_frames: object) -> None:
            raise ValueError("secret inside")

        service.chain.on_detect = explode
        return await service.post("/v1/detections", content=IMAGE, headers=JPEG)

    response = run(scenario)
    assert_problem(response, 500, "internal")
    assert "secret" not in response.text


def test_a_full_queue_is_a_503_with_retry_after(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        service.chain.gate.clear()
        async with service.client() as client:
            calls = [asyncio.create_task(client.post("/v1/detections", content=IMAGE, headers=JPEG)) for _ in range(3)]
            await asyncio.sleep(0.05)
            refused = await client.post("/v1/detections", content=IMAGE, headers=JPEG)
            service.chain.gate.set()
            return refused, await asyncio.gather(*calls)

    refused, answered = run(scenario)
    assert_problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert [response.status_code for response in answered] == [200, 200, 200]


def test_a_dead_stage_is_a_503_with_retry_after(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        def die(_frames: object) -> None:
            raise UnavailableError

        service.chain.on_detect = die
        return await service.post("/v1/detections", content=IMAGE, headers=JPEG)

    response = run(scenario)
    assert_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"


def test_a_deadline_that_passes_is_a_504(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        service.chain.gate.clear()
        return await service.post("/v1/detections", content=IMAGE, headers={**JPEG, "x-deadline-ms": "20"})

    assert_problem(run(scenario), 504, "deadline_exceeded")


@pytest.mark.parametrize("deadline", ["nan", "0", "-5", "soon"])
def test_a_deadline_that_is_none_is_refused(run: Any, deadline: str) -> None:
    response = run(lambda s: s.post("/v1/detections", content=IMAGE, headers={**JPEG, "x-deadline-ms": deadline}))
    assert_problem(response, 422, "invalid_parameter")


def test_many_images_in_one_multipart_come_back_in_order_each_with_its_own_fate(run: Any) -> None:
    files = [
        ("images", ("a.jpg", IMAGE)),
        ("images", ("b.jpg", b"bad")),
        ("images", ("c.jpg", b"")),
        ("x", ("d", IMAGE)),
    ]
    response = run(lambda s: s.post("/v1/detections", files=files))
    assert response.status_code == 200
    results = response.json()
    assert [r["seq"] for r in results] == [0, 1, 2, 3]
    assert [(r["status"], r.get("reason")) for r in results] == [
        ("result", None),
        ("error", "undecodable"),
        ("error", "invalid_request"),
        ("result", None),
    ]


def test_ndjson_gives_a_line_per_image(run: Any) -> None:
    files = [("images", ("a.jpg", IMAGE)), ("images", ("b.jpg", b"bad"))]
    response = run(lambda s: s.post("/v1/detections", files=files, headers={"accept": "application/x-ndjson"}))
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert sorted((r["seq"], r["status"]) for r in lines(response)) == [(0, "result"), (1, "error")]


def test_too_many_parts_are_too_large(run: Any) -> None:
    files = [("images", (f"{n}.jpg", IMAGE)) for n in range(5)]
    assert_problem(run(lambda s: s.post("/v1/detections", files=files)), 413, "too_large")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"anything", "multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_a_broken_multipart_is_malformed(run: Any, content: bytes, media_type: str) -> None:
    response = run(lambda s: s.post("/v1/detections", content=content, headers={"content-type": media_type}))
    assert_problem(response, 400, "invalid_request")


def test_bodies_give_their_memory_back(run: Any) -> None:
    async def scenario(service: Any) -> list[int]:
        async with service.client() as client:
            return [
                (await client.post("/v1/detections", content=bytes(900) + b"x" * n, headers=JPEG)).status_code
                for n in range(20)
            ]

    assert set(run(scenario)) == {200}


def test_a_request_id_of_the_caller_comes_back(run: Any) -> None:
    response = run(lambda s: s.post("/v1/detections", content=b"", headers={**JPEG, "x-request-id": "cam-7:42"}))
    assert response.headers["x-request-id"] == "cam-7:42"
    assert response.json()["request_id"] == "cam-7:42"


def test_a_request_id_that_could_break_a_log_is_replaced(run: Any) -> None:
    response = run(lambda s: s.get("/healthz", headers={"x-request-id": "a b<script>"}))
    assert len(response.headers["x-request-id"]) == 32
