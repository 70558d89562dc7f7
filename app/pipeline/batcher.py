"""Gathers single frames of many callers into micro-batches, with a bounded door, deadlines and cancellation."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import DeadlineError, InternalError, OverloadedError
from app.policy.batching import BatchLimits, frames_to_take, is_admitted, retry_after_s
from app.policy.door import Line, Pace, is_worth_it

A = TypeVar("A")
B = TypeVar("B")


@dataclass(slots=True)
class _Waiting(Generic[A, B]):
    item: A
    answer: asyncio.Future[B]
    deadline_s: float | None
    context: Context
    request: str | None
    place: int
    arrived_s: float


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
        self._pace = Pace()
        self._inside = 0
        self._of_request: Counter[str] = Counter()

    @property
    def depth(self) -> int:
        """Frames that wait now."""
        return len(self._waiting)

    async def submit(self, item: A, *, deadline_s: float | None = None, request: str | None = None) -> B:
        """The answer for `item`; `deadline_s` is on the batcher's clock, `request` names those who come together.

        Raises OverloadedError at once when the queue is full or the answer is expected too late, DeadlineError when the
        deadline passes first: work that has not begun by then never begins.
        """
        now_s = self._clock()
        if deadline_s is not None and now_s >= deadline_s:
            raise DeadlineError("the deadline had passed before the work began")
        left_s = None if deadline_s is None else deadline_s - now_s
        if self._refusal(left_s, request) is not None:
            self._forget_cancelled()
        if (refusal := self._refusal(left_s, request)) is not None:
            raise refusal
        answer: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        entry = _Waiting(item, answer, deadline_s, self._context(), request, self._inside + 1, now_s)
        self._enter(entry)
        self._dispatch()
        if deadline_s is None:
            return await entry.answer
        try:
            return await asyncio.wait_for(entry.answer, deadline_s - self._clock())
        except TimeoutError:
            raise DeadlineError("the deadline passed before the answer was there") from None

    def _refusal(self, left_s: float | None, request: str | None) -> OverloadedError | None:
        own = 0 if request is None else self._of_request[request]
        line = Line(ahead=self._inside, others=self._inside - own)
        wait_s = retry_after_s(waiting=line.ahead, frames_per_s=self._pace.frames_per_s)
        if not is_admitted(waiting=len(self._waiting), limits=self._limits):
            return OverloadedError(retry_after_s=wait_s)
        if is_worth_it(line, left_s=left_s, each_s=self._pace.each_s, limits=self._limits):
            return None
        return OverloadedError("the answer would come too late", wait_s)

    def _enter(self, entry: _Waiting[A, B]) -> None:
        self._waiting.append(entry)
        self._inside += 1
        if entry.request is not None:
            self._of_request[entry.request] += 1

    def _leave(self, entries: Iterable[_Waiting[A, B]]) -> None:
        """They neither wait nor are worked on any more."""
        for entry in entries:
            self._inside -= 1
            if entry.request is not None:
                self._of_request[entry.request] -= 1
                if not self._of_request[entry.request]:
                    del self._of_request[entry.request]

    def _forget_cancelled(self) -> None:
        self._leave(entry for entry in self._waiting if entry.answer.done())
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
                self._leave([entry])
                continue
            if entry.deadline_s is not None and now_s >= entry.deadline_s:
                entry.answer.set_exception(DeadlineError("the deadline passed before the work began"))
                self._leave([entry])
                continue
            batch.append(entry)
        return batch

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._dispatch()

    async def _run(self, batch: list[_Waiting[A, B]]) -> None:
        try:
            answers = await self._work([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise InternalError  # noqa: TRY301  a stage broke its contract: nobody may wait for ever
        except Exception as error:  # noqa: BLE001  every caller of the batch gets it
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        finally:
            self._leave(batch)
        for entry, answer in zip(batch, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(answer)
        # The oldest waited longest for the place it had: by it nobody in the batch is promised too much.
        self._pace.observe(batch[0].place, self._clock() - batch[0].arrived_s)
