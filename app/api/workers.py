"""Threads for the work that the ingress does itself, bounded so that no kind of request can take them all."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.core.errors import DeadlineError, OverloadedError

T = TypeVar("T")


class Workers:
    """`threads` of one kind, and a door that is shut when `max_waiting` more wait for them."""

    def __init__(self, threads: int, *, max_waiting: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(threads + max_waiting)

    async def run(self, work: Callable[[], T], *, deadline_s: float | None = None) -> T:
        """The result of `work` on a thread; `deadline_s` is on the monotonic clock.

        Raises OverloadedError at once when too many wait, DeadlineError when the deadline passes first. What has not
        begun by then, or when the caller is cancelled, never begins; what has begun keeps its thread to its end.
        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError("too many requests of this kind are waiting")
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        try:
            async with asyncio.timeout(None if deadline_s is None else deadline_s - time.monotonic()):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeadlineError("the deadline passed before the work was done") from None
