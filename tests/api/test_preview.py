import asyncio
import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from app.api.application import ApiLimits
from app.api.bodies import BodyLimits
from app.media.limits import DecodeLimits
from tests.api.conftest import Service
from tests.api.test_detections import JPEG, assert_problem
from tests.unit.media.pictures import ASSETS, encoded, gradient

URL = "/v1/pipelines/preview"
GOLDEN = (ASSETS / "preview" / "source.jpg").read_bytes()
ROOMY = ApiLimits(bodies=BodyLimits(max_image_bytes=200_000), decoding=DecodeLimits(max_pixels=1_000_000))


def post(query: str = "", **options: Any) -> httpx.Response:
    async def inside() -> httpx.Response:
        return await Service(ROOMY).post(f"{URL}{query}", **options)

    return asyncio.run(inside())


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(response.content))


def test_any_picture_becomes_a_small_jpeg() -> None:
    preview = opened(post(content=GOLDEN, headers=JPEG))
    assert (preview.format, preview.mode, preview.size) == ("JPEG", "RGB", (512, 288))


def test_size_and_quality_may_be_chosen() -> None:
    fine = post("?max_side=64&quality=95", content=GOLDEN, headers=JPEG)
    coarse = post("?max_side=64&quality=10", content=GOLDEN, headers=JPEG)
    assert opened(fine).size == opened(coarse).size == (64, 36)
    assert len(coarse.content) < len(fine.content)


def test_every_source_of_detections_is_one_of_previews() -> None:
    rgb = gradient(width_px=200, height_px=100)
    png = encoded(rgb, "PNG")
    raw = {"content-type": "application/vnd.sightline.rgb;width=200;height=100"}
    answers = [
        post("?max_side=50", content=png, headers={"content-type": "application/octet-stream"}),
        post("?max_side=50", json={"base64": base64.b64encode(png).decode()}),
        post("?max_side=50", content=rgb.tobytes(), headers=raw),
    ]
    assert [opened(answer).size for answer in answers] == [(50, 25)] * 3
    assert answers[0].content == answers[1].content == answers[2].content


@pytest.mark.parametrize(
    "query", ["max_side=15", "max_side=4097", "max_side=1e3", "max_side=nan", "quality=0", "quality=101", "quality=x"]
)
def test_a_value_out_of_range_is_refused_by_name(query: str) -> None:
    response = post(f"?{query}", content=GOLDEN, headers=JPEG)
    assert_problem(response, 422, "invalid_parameter")
    assert query.split("=", maxsplit=1)[0] in response.json()["detail"]


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"", "headers": JPEG}, 400, "invalid_request"),
        ({"content": GOLDEN[:3000], "headers": JPEG}, 422, "undecodable"),
        ({"content": b"GIF89a and the rest of it", "headers": JPEG}, 415, "unsupported_media"),
        ({"content": GOLDEN, "headers": {"content-type": "text/plain"}}, 415, "unsupported_media"),
        ({"content": bytes(200_001), "headers": JPEG}, 413, "too_large"),
        ({"content": encoded(gradient(width_px=1001, height_px=1000), "JPEG"), "headers": JPEG}, 413, "too_large"),
        ({"json": {"url": "https://images.example.com/a.jpg"}}, 422, "invalid_parameter"),
        ({"content": GOLDEN, "headers": {**JPEG, "x-deadline-ms": "0.001"}}, 504, "deadline_exceeded"),
    ],
)
def test_what_cannot_be_shown_is_a_problem(options: dict[str, Any], status: int, code: str) -> None:
    assert_problem(post(**options), status, code)
