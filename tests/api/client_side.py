"""What tests of the Python client share: a bounded run, a client behind a proxy, its events."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from app.client import AsyncSightline, AsyncStream, SessionLimits
from app.core.result import Event, FrameResult
from app.policy.reconnect import Backoff
from tests.servers.proxy import Proxy

FRAME = b"x" * 200
WITHIN_S = 60.0
FAST = SessionLimits(backoff=Backoff.FAST)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await scenario()

    asyncio.run(bounded())


def through(proxy: Proxy, *, limits: SessionLimits | None = None) -> AsyncSightline:
    """A client of whatever is behind the proxy."""
    return AsyncSightline(f"http://127.0.0.1:{proxy.port}", limits=limits)


async def all_events(stream: AsyncStream) -> list[Event]:
    return [event async for event in stream.events()]


def results(events: list[Event]) -> list[FrameResult]:
    return [event for event in events if isinstance(event, FrameResult)]


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)
