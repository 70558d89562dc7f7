"""Readers that are cut off a hundred times and go on by what they had last: nothing lost, nothing twice."""

import asyncio
import json
import random
from typing import Any

import httpx
import pytest

from tests.api.served import serving

CUTS = 100
JPEG = {"content-type": "image/jpeg"}


async def read(client: httpx.AsyncClient, url: str, *, headers: dict[str, str], most: int) -> list[dict[str, Any]]:
    """Up to `most` events, as NDJSON or server-sent events; then the connection is dropped where it is."""
    found: list[dict[str, Any]] = []
    async with client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            text = line.removeprefix("data: ")
            if text.startswith("{"):
                found.append(json.loads(text))
            if len(found) == most or (found and found[-1]["schema"].endswith("Summary")):
                break
    return found


def after(event: dict[str, Any], *, is_sse: bool, url: str) -> tuple[str, dict[str, str]]:
    """How a reader asks for what comes behind this event."""
    if is_sse:
        return url, {"accept": "text/event-stream", "last-event-id": event["event_id"]}
    return f"{url}?since={event['seq']}", {}


@pytest.mark.parametrize("is_sse", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_reader_that_is_cut_off_a_hundred_times_misses_nothing(*, is_sse: bool) -> None:
    chance = random.Random(7)

    async def scenario() -> tuple[list[str], list[str]]:
        async with serving() as served, httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            stream_id = (await client.post("/v1/streams")).json()["stream_id"]
            events = f"{served.url}/v1/streams/{stream_id}/events"

            async def push() -> None:
                for _ in range(3 * CUTS):
                    await client.post(f"/v1/streams/{stream_id}/frames", content=b"jpeg", headers=JPEG)

            pushing = asyncio.create_task(push())
            got: list[dict[str, Any]] = []
            url, headers = events, {"accept": "text/event-stream"} if is_sse else {}
            for _ in range(CUTS):
                got += await read(client, url, headers=headers, most=chance.randint(1, 4))
                last = next(event for event in reversed(got) if event["schema"].endswith("FrameResult") or is_sse)
                url, headers = after(last, is_sse=is_sse, url=events)
            await pushing
            await client.delete(f"/v1/streams/{stream_id}")
            got += await read(client, url, headers=headers, most=10_000)
            whole = await read(client, events, headers={}, most=10_000)
            return [event["event_id"] for event in got], [event["event_id"] for event in whole]

    got, whole = asyncio.run(scenario())
    assert len(whole) >= 3 * CUTS
    assert list(dict.fromkeys(got)) == whole
    assert len(got) == len(whole) or not is_sse  # by frame number a state may come again, under its own id
