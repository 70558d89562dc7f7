"""Gathers single frames of many callers into micro-batches, with a bounded door, deadlines and cancellation."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import DeadlineError, InternalError, OverloadedError
from app.policy.batching import BatchLimits, frames_to_take, is_admitted, retry_after_s

A = TypeVar("A")
B = TypeVar("B")

RATE_MEMORY = 0.9
"""Weight of the past in the smoothed service rate; the value only feeds Retry-After."""


@dataclass(slots=True)
class _Waiting(Generic[A, B]):
    item: A
    answer: asyncio.Future[B]
    deadline_s: float | None
    context: Context


class MicroBatcher(Generic[A, B]):
    """One queue in front of `work`, which takes a batch and gives one answer per item, in order.

    `clock` gives monotonic seconds, `context` what a batch runs in whose first caller called it: not the caller's own.
    All calls happen on one event loop.
    """

    def __init__(
        self,
        work: Callable[[list[A]], Awaitable[list[B]]],
        *,
        limits: BatchLimits,
        clock: Callable[[], float] = time.monotonic,
        context: Callable[[], Context] = Context,
    ) -> None:
        self._work = work
        self._context = context
        self._limits = limits
        self._clock = clock
        self._waiting: deque[_Waiting[A, B]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._frames_per_s = 0.0

    @property
    def depth(self) -> int:
        """Frames that wait now."""
        return len(self._waiting)

    async def submit(self, item: A, *, deadline_s: float | None = None) -> B:
        """The answer for `item`; `deadline_s` is on the batcher's clock.

        Raises OverloadedError at once when the queue is full, DeadlineError when the deadline passes first: work that
        has not begun by then never begins.
        """
        if not is_admitted(waiting=len(self._waiting), limits=self._limits):
            self._forget_cancelled()
        if not is_admitted(waiting=len(self._waiting), limits=self._limits):
            wait_s = retry_after_s(waiting=len(self._waiting), frames_per_s=self._frames_per_s)
            raise OverloadedError(retry_after_s=wait_s)
        if deadline_s is not None and self._clock() >= deadline_s:
            raise DeadlineError("the deadline had passed before the work began")
        entry: _Waiting[A, B] = _Waiting(item, asyncio.get_running_loop().create_future(), deadline_s, self._context())
        self._waiting.append(entry)
        self._dispatch()
        if deadline_s is None:
            return await entry.answer
        try:
            return await asyncio.wait_for(entry.answer, deadline_s - self._clock())
        except TimeoutError:
            raise DeadlineError("the deadline passed before the answer was there") from None

    def _forget_cancelled(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry.answer.done())

    def _dispatch(self) -> None:
        while take := frames_to_take(waiting=len(self._waiting), in_flight=len(self._in_flight), limits=self._limits):
            batch = self._next_batch(take)
            if not batch:
                continue
            # A batch serves many requests: in the context of one of them, Ray would give all its calls that request's
            # id, and routers that index by it would hang (facts/ray-serve.md, finding 1).
            task = asyncio.create_task(self._run(batch), context=batch[0].context)
            self._in_flight.add(task)
            task.add_done_callback(self._finished)

    def _next_batch(self, take: int) -> list[_Waiting[A, B]]:
        """Up to `take` entries whose caller still waits and whose deadline has not passed."""
        now_s = self._clock()
        batch: list[_Waiting[A, B]] = []
        while self._waiting and len(batch) < take:
            entry = self._waiting.popleft()
            if entry.answer.done():
                continue
            if entry.deadline_s is not None and now_s >= entry.deadline_s:
                entry.answer.set_exception(DeadlineError("the deadline passed before the work began"))
                continue
            batch.append(entry)
        return batch

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._dispatch()

    async def _run(self, batch: list[_Waiting[A, B]]) -> None:
        start_s = self._clock()
        try:
            answers = await self._work([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise InternalError  # noqa: TRY301  a stage broke its contract: nobody may wait for ever
        except Exception as error:  # noqa: BLE001  every caller of the batch gets it
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        for entry, answer in zip(batch, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(answer)
        self._observe(len(batch), elapsed_s=self._clock() - start_s)

    def _observe(self, frames: int, *, elapsed_s: float) -> None:
        rate = frames * max(1, len(self._in_flight)) / max(elapsed_s, 1e-6)
        self._frames_per_s = RATE_MEMORY * self._frames_per_s + (1 - RATE_MEMORY) * rate if self._frames_per_s else rate
