"""Events on disk between a stream and its sinks: appended before they leave, forgotten when they have arrived."""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from app.core.errors import UnavailableError
from app.core.wire import WireEvent
from app.delivery.outbox_file import OutboxFile
from app.delivery.outbox_lock import SUFFIX, OutboxLock, outboxes
from app.delivery.outbox_rows import DeadLetter, DeadReason, Lane, Waiting

LOG = logging.getLogger("sightline")
GROUPED_CALLS: Final = 256
"""So many calls share one commit at the most: the disk is waited for once, and none of them waits long."""
_PAGE_ROWS: Final = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Bytes on disk, of waiting events and of dead letters, each with what a row takes beside its body."""

    max_bytes: int
    max_dead_bytes: int


@dataclass(slots=True)
class _Call(Generic[T]):
    work: Callable[[OutboxFile], T]
    done: Future[T]


class Outbox:
    """One process's file in `folder`, and the one thread that touches it; `clock` is UTC in seconds.

    Calls wait for the disk without holding the event loop; UnavailableError when it takes nothing, or after `close`.
    """

    def __init__(self, folder: Path, *, limits: OutboxLimits, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._limits = limits
        self._clock = clock
        lock = OutboxLock.taken(folder / f"{uuid.uuid4().hex}{SUFFIX}")
        assert lock is not None, "a new name is locked by nobody"  # noqa: S101
        self._lock = lock
        self._file = self._opened(lock.path)
        self._calls: queue.SimpleQueue[_Call[None] | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def _opened(self, path: Path) -> OutboxFile:
        return OutboxFile(path, max_bytes=self._limits.max_bytes, max_dead_bytes=self._limits.max_dead_bytes)

    async def append(self, stream_id: str, sinks: Sequence[str], events: Sequence[WireEvent]) -> None:
        """Put events of a stream on disk for each of the sinks; what waits there already is not put twice."""
        now_s = self._clock()

        def work(file: OutboxFile) -> None:
            for sink in sinks:
                file.append(Lane(stream_id=stream_id, sink=sink), events, now_s=now_s)

        await self._call(work)

    async def head(self, lane: Lane, *, max_events: int, max_bytes: int) -> list[Waiting]:
        """The oldest events of a lane, at least one unless it is empty."""
        return await self._call(lambda file: file.head(lane, max_events=max_events, max_bytes=max_bytes))

    async def delivered(self, lane: Lane, rows: Sequence[Waiting]) -> None:
        """Forget events that have arrived."""
        await self._call(lambda file: file.delivered(lane, rows))

    async def bury(self, lane: Lane, rows: Sequence[Waiting], *, reason: DeadReason) -> None:
        """Give events up: they become dead letters."""
        now_s = self._clock()
        await self._call(lambda file: file.bury(lane, rows, reason=reason, now_s=now_s))

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """What was given up, oldest first, from behind that position on."""
        return await self._call(lambda file: file.dead_page(after=after, limit=limit))

    async def oldest_s(self) -> dict[str, float]:
        """Since when (UTC, seconds) the oldest event of each sink waits, by the sink's text."""
        return await self._call(lambda file: file.oldest_s())

    async def sweep(self) -> None:
        """Forget what no longer has events."""
        await self._call(lambda file: file.sweep())

    @property
    def totals(self) -> dict[tuple[str, str], int]:
        """The counts of `OutboxFile.totals`, as they are now."""
        return dict(self._file.totals)

    async def adopt(self) -> set[Lane]:
        """Take over what processes that have died left in the folder; the lanes that it belongs to."""
        lanes: set[Lane] = set()
        for path in await asyncio.to_thread(outboxes, self._folder):
            if (lock := OutboxLock.left(path)) is None:
                continue
            try:
                lanes |= await self._adopt(path)
            except sqlite3.Error:
                # Set aside and not deleted: somebody may want to look, and no later start stumbles over it.
                LOG.exception("an outbox that was left behind cannot be read; it is kept as *.broken")
                path.rename(path.with_suffix(".broken"))
                lock.remove()
            except BaseException:
                lock.close()
                raise
            else:
                lock.remove()
        return lanes

    async def _adopt(self, path: Path) -> set[Lane]:
        lanes: set[Lane] = set()
        # Its own limits do not matter: nothing is put there any more.
        orphan = await asyncio.to_thread(self._opened, path)
        with contextlib.closing(orphan):
            shift = await self._call(lambda file: file.make_room(orphan))
            after: int | None = None
            while rows := await asyncio.to_thread(orphan.page, after=after, limit=_PAGE_ROWS):
                now_s = self._clock()
                await self._call(lambda file, rows=rows, now_s=now_s: file.adopt(rows, shift=shift, now_s=now_s))  # type: ignore[misc]  # bound at once
                after = rows[-1][1].position
                lanes.update(lane for lane, _ in rows)
            after_dead = 0
            while letters := await asyncio.to_thread(orphan.dead_page, after=after_dead, limit=_PAGE_ROWS):
                await self._call(lambda file, letters=letters: file.adopt_dead(letters))  # type: ignore[misc]  # same
                after_dead = letters[-1].position
        return lanes

    async def _call(self, work: Callable[[OutboxFile], T]) -> T:
        if self._is_closed:
            raise UnavailableError("the outbox is closed")
        call = _Call(work, Future[T]())
        self._calls.put(call)  # type: ignore[arg-type]  # the queue holds calls of every result
        return await asyncio.wrap_future(call.done)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            calls = [call]
            while len(calls) < GROUPED_CALLS and not self._calls.empty():
                another = self._calls.get()
                if another is None:
                    self._calls.put(None)
                    break
                calls.append(another)
            self._commit([call for call in calls if call.done.set_running_or_notify_cancel()])

    def _commit(self, calls: Sequence[_Call[None]]) -> None:
        """Do the calls in one transaction, and answer them when it is on disk."""
        results = []
        try:
            with self._file.transaction():
                results = [call.work(self._file) for call in calls]
        except Exception as error:
            LOG.exception("the outbox cannot be written")
            for call in calls:
                call.done.set_exception(UnavailableError("the outbox cannot be written").with_traceback(None))
            del error
            return
        for call, result in zip(calls, results, strict=True):
            call.done.set_result(result)

    async def close(self) -> None:
        """Let the file go: it is deleted when nothing is left in it, else the next process takes it over."""
        if self._is_closed:
            return
        self._is_closed = True
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)
        is_empty = self._file.is_empty()
        self._file.close()
        if is_empty:
            self._lock.remove()
        else:
            self._lock.close()
