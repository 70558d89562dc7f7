import asyncio
import threading
import time

import pytest

from app.api.workers import Workers
from app.core.errors import DeadlineError, OverloadedError


def test_workers_shut_the_door_and_keep_deadlines() -> None:
    async def scenario() -> None:
        workers = Workers(1, max_waiting=1, name="test")
        gate = threading.Event()
        first = asyncio.create_task(workers.run(gate.wait))
        second = asyncio.create_task(workers.run(lambda: 2))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await workers.run(lambda: 3)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        with pytest.raises(DeadlineError):
            await workers.run(lambda: 4, deadline_s=time.monotonic() + 0.02)
        gate.set()
        await first
        assert await workers.run(lambda: 5) == 5

    asyncio.run(scenario())
