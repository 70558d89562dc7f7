import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from app.api.application import ApiLimits
from app.media.fetch_guard import FetchParameters
from tests.api.conftest import LIMITS, Service
from tests.api.test_detections import assert_problem
from tests.api.test_sources import URL, base64_of, received
from tests.unit.media.web import IMAGE, Web, serving


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def with_fetch(web: Web, scenario: Callable[[Service], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run a scenario against a service that may fetch from the loopback server."""
    parameters: dict[str, Any] = {"allowed_hosts": (f"127.0.0.1:{web.port}",), "allow_private": True, **options}
    limits = ApiLimits(bodies=LIMITS.bodies, fetch=FetchParameters(**parameters))

    async def inside() -> Any:
        return await scenario(Service(limits))

    return asyncio.run(inside())


def test_a_url_is_the_image_that_lies_there(web: Web) -> None:
    async def scenario(service: Service) -> Any:
        response = await service.post(URL, json={"url": web.url("image")})
        return response, received(service)

    response, images = with_fetch(web, scenario)
    assert response.status_code == 200, response.text
    assert images == [IMAGE]


@pytest.mark.parametrize(
    ("page", "status", "code"),
    [
        ("no-such-page", 422, "invalid_parameter"),
        ("loop", 422, "invalid_parameter"),
        ("to/http~//169.254.169.254/", 422, "invalid_parameter"),
        ("declared/1001", 413, "too_large"),
        ("endless", 413, "too_large"),
        ("drip/body", 504, "deadline_exceeded"),
    ],
)
def test_a_url_that_gives_no_image_is_a_problem(web: Web, page: str, status: int, code: str) -> None:
    response = with_fetch(web, lambda s: s.post(URL, json={"url": web.url(page)}), timeout_s=0.5)
    assert_problem(response, status, code)
    assert "127.0.0.1" not in response.text


def test_a_listed_host_that_is_private_is_refused(web: Web) -> None:
    response = with_fetch(web, lambda s: s.post(URL, json={"url": web.url("image")}), allow_private=False)
    assert_problem(response, 422, "invalid_parameter")
    assert "127.0.0.1" not in response.text


def test_the_callers_deadline_holds_for_a_fetch(web: Web) -> None:
    start_s = time.monotonic()
    options = {"json": {"url": web.url("drip/body")}, "headers": {"x-deadline-ms": "200"}}
    assert_problem(with_fetch(web, lambda s: s.post(URL, **options)), 504, "deadline_exceeded")
    assert time.monotonic() - start_s < 3


def test_a_client_that_goes_leaves_no_memory_taken(web: Web) -> None:
    """Budget for five images: were the reservations kept, the sixth would be refused."""

    async def scenario(service: Service) -> list[int]:
        for _ in range(6):
            slow = asyncio.create_task(service.post(URL, json={"url": web.url("drip/body")}))
            await asyncio.sleep(0.02)
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
        return [(await service.post(URL, json=base64_of(IMAGE))).status_code for _ in range(2)]

    assert with_fetch(web, scenario, timeout_s=0.5) == [200, 200]
