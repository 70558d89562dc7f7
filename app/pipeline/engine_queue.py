"""What waits in front of an engine: a policy decides, the engine's own threads take, the callers await."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Final, Generic, TypeVar

from app.core.errors import (
    DeadlineError,
    InternalError,
    InvalidParameterError,
    OverloadedError,
    SightlineError,
    TooLargeError,
    UnavailableError,
)
from app.core.routing import MAX_PRIORITY, Urgency
from app.pipeline.bisection import Broken, Work, run_apart
from app.policy.batch_policy import BatchPolicy, Bucket, Item
from app.policy.batching import retry_after_s

LOG = logging.getLogger("sightline")
A = TypeVar("A")
B = TypeVar("B")

RATE_MEMORY: Final = 0.9
"""Weight of the past in the smoothed service rate; the value only feeds Retry-After."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """`max_images` that wait before the door closes; `slo_s` is when an answer without a deadline of its own is due.

    `max_ahead_s`: no deadline lies further from now. One that seems to comes from a clock that jumped: what lies
    further ahead is moved up to there, what lies further back is taken for no deadline at all.
    """

    max_images: int = 256
    slo_s: float = 0.25
    max_ahead_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Generic[B]):
    """An answer, the seconds it waited before its batch began, and the images of that batch."""

    result: B
    queue_s: float
    batch_images: int


@dataclass(slots=True)
class Caller(Generic[A, B]):
    """Who waits for an answer."""

    item: A
    offered: Item
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Served[B]]


class EngineQueue(Generic[A, B]):
    """`lanes` threads take batches from `policy` and run `work` on them, with no turn of an event loop in between.

    `work` gives one answer per item, in order, and is called on several threads at a time. When it raises, the batch
    is cut in halves until whoever broke it fails alone (`run_apart`). `clock` gives monotonic seconds, `wall_clock`
    UTC. `submit` may be called from several event loops, `close` from anywhere but `work`.
    """

    def __init__(
        self,
        work: Work[A, B],
        *,
        policy: BatchPolicy,
        lanes: int = 1,
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._work = work
        self._policy = policy
        self._limits = limits or QueueLimits()
        self._clock = clock
        self._wall_clock = wall_clock
        self._callers: dict[int, Caller[A, B]] = {}
        self._numbers = itertools.count()
        self._images_per_s = 0.0
        self._missed = 0
        self._longest_s = 0.0
        self._is_closed = False
        self._changed = Condition()
        self._lanes = [Thread(target=self._lane, name=f"lane-{index}", daemon=True) for index in range(lanes)]
        for lane in self._lanes:
            lane.start()

    @property
    def waiting_images(self) -> int:
        """Images that wait now."""
        with self._changed:
            return self._policy.waiting_images

    def take_wait_s(self) -> float:
        """The longest wait, until now or until its work began, of any who is in a hurry (`is_hurried`), in seconds.

        Of those that waited at any time since this was asked last: a queue that empties with every batch is short in
        most moments, and nobody in it may be on time.
        """
        with self._changed:
            waiting = (caller.offered.arrived_s for caller in self._callers.values() if is_hurried(caller.offered))
            now_s = self._clock()
            longest_s, self._longest_s = self._longest_s, 0.0
            return max(longest_s, now_s - next(waiting, now_s))

    def take_missed(self) -> int:
        """How many deadlines passed since this was asked last before their work began, half of `slo_s` away or more."""
        with self._changed:
            missed, self._missed = self._missed, 0
            return missed

    async def submit(
        self, item: A, *, images: int, stream_id: str | None, urgency: Urgency, bucket: Bucket
    ) -> Served[B]:
        """The answer for `item`, which holds `images` canvases of that bucket.

        `stream_id` is whose share of the engine it takes, None for nobody's. Raises OverloadedError at once when the
        door is closed, DeadlineError when the caller's own deadline passes first, TooLargeError when one batch cannot
        hold the canvases, UnavailableError after `close`, and what `work` raised for this item.
        """
        caller = self.offer(item, images=images, stream_id=stream_id, urgency=urgency, bucket=bucket)
        return await self.answer(caller)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let what is offered in this block come at once, so that a lane may take it together; it may not wait."""
        with self._changed:
            yield

    def offer(self, item: A, *, images: int, stream_id: str | None, urgency: Urgency, bucket: Bucket) -> Caller[A, B]:
        """The first half of `submit`: from here on it waits. Raises as `submit` does at once."""
        if images > bucket.max_batch:
            raise TooLargeError(f"{images} canvases, and the model takes {bucket.max_batch} at once")
        if not 0 <= urgency.priority <= MAX_PRIORITY:
            raise InvalidParameterError(f"priority {urgency.priority} is not 0 to {MAX_PRIORITY}")
        arrived_s = self._clock()
        wait_s, is_hard = self._wait_s(urgency)
        if wait_s <= 0:
            raise DeadlineError("the deadline had passed before the work began")
        loop = asyncio.get_running_loop()
        offered = Item(
            number=next(self._numbers),
            stream=stream_id,
            images=images,
            priority=urgency.priority,
            due_s=arrived_s + wait_s,
            arrived_s=arrived_s,
            bucket=bucket,
            is_hard=is_hard,
        )
        caller: Caller[A, B] = Caller(item, offered, loop, loop.create_future())
        self._admit(caller)
        return caller

    async def answer(self, caller: Caller[A, B]) -> Served[B]:
        """The second half of `submit`, once for each that was offered; who is cancelled in it leaves."""
        left_s = caller.offered.due_s - self._clock() if caller.offered.is_hard else None
        try:
            async with asyncio.timeout(left_s) as limit:
                return await caller.answer
        except TimeoutError:
            if not limit.expired():
                raise  # the work's own
            with self._changed:
                if caller.offered.number in self._callers:
                    self._note_missed(caller.offered)
            raise DeadlineError("the deadline passed before the answer was there") from None
        finally:
            self._forget(caller.offered.number)

    def close(self) -> None:
        """End all that waits with UnavailableError, and come back when the lanes have finished what they run."""
        self._end_all(UnavailableError())
        for lane in self._lanes:
            lane.join()

    def _wait_s(self, urgency: Urgency) -> tuple[float, bool]:
        """Seconds until it is due, 0 when that has passed, and whether the caller meant it."""
        if urgency.due_at is None:
            return self._limits.slo_s, False
        if not math.isfinite(urgency.due_at):
            raise InvalidParameterError("the deadline is not a time")
        ahead_s = urgency.due_at - self._wall_clock()
        if ahead_s < -self._limits.max_ahead_s:
            return self._limits.slo_s, False
        return min(max(0.0, ahead_s), self._limits.max_ahead_s), True

    def _admit(self, caller: Caller[A, B]) -> None:
        with self._changed:
            if self._is_closed:
                raise UnavailableError
            most = self._limits.max_images - caller.offered.images
            while self._policy.waiting_images > most:
                leaver = self._policy.displace(caller.offered)
                if leaver is None:
                    raise self._refusal()
                _tell([(self._callers.pop(leaver.number), Broken(self._refusal()))])
            self._policy.offer(caller.offered)
            self._callers[caller.offered.number] = caller
            self._changed.notify()

    def _refusal(self) -> OverloadedError:
        wait_s = retry_after_s(waiting=self._policy.waiting_images, frames_per_s=self._images_per_s)
        return OverloadedError(retry_after_s=wait_s)

    def _note_missed(self, offered: Item) -> None:
        """Deadlines shorter than half of our own objective are no sign of load: nobody has promised them."""
        self._missed += self._clock() - offered.arrived_s >= self._limits.slo_s / 2

    def _end_all(self, error: SightlineError) -> None:
        with self._changed:
            self._is_closed = True
            waiting = list(self._callers.values())
            for number in self._callers:
                self._policy.withdraw(number)
            self._callers.clear()
            self._changed.notify_all()
        _tell([(caller, Broken(error)) for caller in waiting])

    def _forget(self, number: int) -> None:
        """A caller who was answered, or who left: in the latter case nothing is run for it that has not begun."""
        with self._changed:
            if self._callers.pop(number, None) is not None:
                self._policy.withdraw(number)

    def _lane(self) -> None:
        try:
            while batch := self._next_batch():
                self._run(batch)
        except Exception:
            LOG.exception("a lane failed outside of its work")
            self._end_all(InternalError())  # nobody may wait for a lane that is not there

    def _next_batch(self) -> list[Caller[A, B]]:
        """What the policy gives this lane, as soon as there is something; empty at the end."""
        with self._changed:
            while not self._is_closed:
                now_s = self._clock()
                cut = self._policy.cut(now_s)
                for item in cut.expired:
                    self._note_missed(item)
                _tell([(self._callers.pop(item.number), _passed()) for item in cut.expired])
                if cut.batch:
                    waits_s = [now_s - item.arrived_s for item in cut.batch if is_hurried(item)]
                    self._longest_s = max([self._longest_s, *waits_s])
                    return [self._callers.pop(item.number) for item in cut.batch]
                self._changed.wait(None if cut.wake_s is None else max(0.0, cut.wake_s - now_s))
            return []

    def _run(self, batch: list[Caller[A, B]]) -> None:
        started_s = self._clock()
        ended = run_apart(self._work, [caller.item for caller in batch])
        ended_s = self._clock()
        images = sum(caller.offered.images for caller in batch)
        _tell(
            [
                (caller, _served(result, caller.offered, started_s=started_s, batch_images=images))
                for caller, result in zip(batch, ended.results, strict=True)
            ]
        )
        for result in ended.results:
            if isinstance(result, Broken) and not isinstance(result.error, SightlineError):
                LOG.error("the engine failed on one of %d", len(batch), exc_info=result.error)
        with self._changed:
            rate = images * len(self._lanes) / max(ended_s - started_s, 1e-6)
            past = self._images_per_s or rate
            self._images_per_s = RATE_MEMORY * past + (1 - RATE_MEMORY) * rate
            if ended.tries == 1 and not isinstance(ended.results[0], Broken):
                self._policy.observe([caller.offered for caller in batch], started_s=started_s, ended_s=ended_s)


def is_hurried(offered: Item) -> bool:
    """Whether a late answer is of little worth: to a live stream, and to whoever has set a deadline."""
    return offered.is_hard or offered.stream is not None


def _served(result: B | Broken, offered: Item, *, started_s: float, batch_images: int) -> Served[B] | Broken:
    if isinstance(result, Broken):
        return result
    return Served(result=result, queue_s=max(0.0, started_s - offered.arrived_s), batch_images=batch_images)


def _passed() -> Broken:
    return Broken(DeadlineError("the deadline passed before the work began"))


def _tell(ended: Sequence[tuple[Caller[A, B], Served[B] | Broken]]) -> None:
    """Hand the answers to those who await them, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Caller[A, B], Served[B] | Broken]]] = {}
    for pair in ended:
        by_loop.setdefault(pair[0].loop, []).append(pair)
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, pairs)
        except RuntimeError:  # the loop has been closed, and nobody awaits on it any more
            LOG.debug("an answer came after its event loop had ended")


def _settle(pairs: Sequence[tuple[Caller[A, B], Served[B] | Broken]]) -> None:
    for caller, result in pairs:
        if caller.answer.done():
            continue
        if isinstance(result, Broken):
            caller.answer.set_exception(result.error)
        else:
            caller.answer.set_result(result)
