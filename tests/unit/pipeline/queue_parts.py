"""Work that is held back and let go, and those who wait for it in a queue."""

import asyncio
import threading
from collections.abc import Callable, Sequence

from app.core.routing import Urgency
from app.pipeline.engine_queue import EngineQueue, Served
from app.policy.batch_policy import Bucket
from app.policy.deadline_batching import DeadlinePolicy
from tests.fakes import ManualClock

BUCKET = Bucket(width_px=64, height_px=64, max_batch=4)
PATIENCE_S = 5.0


class Work:
    """Doubles numbers, raises for those that are poisoned, and holds every batch until its gate opens."""

    def __init__(self, *, is_open: bool = True, poison: dict[int, BaseException] | None = None) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self._poison = poison or {}
        if is_open:
            self.gate.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.begun.release()
        assert self.gate.wait(PATIENCE_S)
        for one in items:
            if one in self._poison:
                raise self._poison[one]
        return [2 * one for one in items]

    async def has_begun(self) -> None:
        """A lane is inside."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_S)


def queue(work: Callable[[list[int]], Sequence[int]], **more: object) -> EngineQueue[int, int]:
    return EngineQueue(work, **{"policy": DeadlinePolicy(), "clock": ManualClock(100.0), **more})


async def ask(
    made: EngineQueue[int, int],
    item: int,
    *,
    images: int = 1,
    priority: int = 5,
    due_at: float | None = None,
    bucket: Bucket = BUCKET,
) -> Served[int]:
    urgency = Urgency(priority=priority, due_at=due_at)
    return await made.submit(item, images=images, stream_id="a", urgency=urgency, bucket=bucket)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def asked(made: EngineQueue[int, int], *items: int, **more: object) -> list["asyncio.Task[Served[int]]"]:
    """Callers who wait, in this order."""
    tasks = [asyncio.create_task(ask(made, item, **more)) for item in items]
    await settle()
    return tasks
