"""Several streams together: frames of one moment in one line, and nobody waits for the silent."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import Service

Run = Callable[[Callable[[Service], Any]], Any]
JPEG = {"content-type": "image/jpeg"}


async def opened(service: Service) -> str:
    stream_id: str = (await service.post("/v1/streams")).json()["stream_id"]
    return stream_id


async def push(service: Service, stream_id: str, second: float) -> None:
    query = {"captured_at": f"2026-11-23T10:00:{second:06.3f}Z"}
    response = await service.post(f"/v1/streams/{stream_id}/frames", params=query, content=b"jpeg", headers=JPEG)
    assert response.json()["status"] == "result"


async def moments(service: Service, names: list[str], **query: str) -> list[dict[str, Any]]:
    response = await service.get("/v1/moments", params={"streams": ",".join(names), **query})
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def close(service: Service, names: list[str]) -> None:
    async with service.client() as client:
        for name in names:
            await client.delete(f"/v1/streams/{name}")


def test_frames_of_one_moment_come_in_one_line_whatever_their_clocks_drift(run: Run) -> None:
    async def scenario(service: Service) -> None:
        names = [await opened(service) for _ in range(2)]
        reading = asyncio.create_task(moments(service, names, fps="10"))
        await asyncio.sleep(0.05)
        for frame in range(5):
            await push(service, names[0], frame / 10)
            await push(service, names[1], frame / 10 * (1 + 50e-6) + 0.012)  # 50 ppm fast and 12 ms late
        await close(service, names)
        lines = await reading
        assert [[result["seq"] for result in line["results"]] for line in lines] == [[n, n] for n in range(5)]
        assert {line["reason"] for line in lines[:-1]} == {"complete"}
        assert {result["stream_id"] for result in lines[0]["results"]} == set(names)

    run(scenario)


def test_a_silent_stream_holds_nobody_up_for_longer_than_the_bound(run: Run) -> None:
    async def scenario(service: Service) -> None:
        names = [await opened(service) for _ in range(2)]
        reading = asyncio.create_task(moments(service, names, fps="10", lateness_s="0.1"))
        await asyncio.sleep(0.05)
        await push(service, names[1], 0.0)
        await push(service, names[0], 0.0)
        await push(service, names[0], 0.2)
        await asyncio.sleep(0.3)
        await push(service, names[1], 0.1)
        await close(service, names)
        lines = await reading
        assert [(line["reason"], [result["seq"] for result in line["results"]]) for line in lines] == [
            ("complete", [0, 0]),
            ("lateness", [1]),
            ("late", [1]),
        ]

    run(scenario)


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 422), ("?streams=", 422), ("?streams=one", 422), ("?streams=one,two", 404), ("?streams=a,b&fps=0", 422)],
)
def test_a_wrong_question_gets_a_typed_error(run: Run, query: str, status: int) -> None:
    assert run(lambda service: service.get(f"/v1/moments{query}")).status_code == status
