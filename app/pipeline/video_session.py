"""One video between its upload and its readers: a decoding thread, a bounded mailbox, batches handed out in order."""

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from app.core.errors import InternalError, InvalidRequestError
from app.core.frame import Frame, FrameRef
from app.core.outcome import Dropped, DropReason, End, Failed, Outcome

LOG = logging.getLogger("sightline")
REMEMBERED_BATCHES = 16
"""Batches whose frame references are kept, so that a batch lost further down the path can still be accounted for."""


class VideoSession:
    """Decodes ahead of its readers, at most `depth` frames.

    With `keeps_latest` the decoder never waits: a frame that nobody has taken when `depth` newer ones are there ends as
    a drop. Otherwise the decoder waits for the readers, and every frame is handed out.
    """

    def __init__(self, outcomes: Iterable[Outcome[Frame]], *, depth: int, keeps_latest: bool) -> None:
        self._outcomes = outcomes
        self._depth = depth
        self._keeps_latest = keeps_latest
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._mailbox: deque[Outcome[Frame]] = deque()
        self._frames = 0  # of the mailbox: those that hold pixels
        self._is_closed = False
        self._is_ended = False
        self._arrived = asyncio.Event()
        self._turn = 0
        self._turned = asyncio.Condition()
        self._refs: OrderedDict[int, list[FrameRef]] = OrderedDict()

    def decode(self) -> None:
        """Run in a thread of its own until the video ends or the session is closed."""
        ended = End()
        try:
            for outcome in self._outcomes:
                if isinstance(outcome, End):
                    ended = outcome
                    break
                if not self._post(outcome):
                    return
        except Exception:
            LOG.exception("the video decoder failed")
            ended = End(error=InternalError())
        self._post(ended)

    def _post(self, outcome: Outcome[Frame]) -> bool:
        """Put one item in the mailbox; False when the session is closed."""
        with self._lock:
            if isinstance(outcome, Frame):
                if self._keeps_latest and self._frames >= self._depth:
                    self._supersede_oldest()
                while self._frames >= self._depth and not self._is_closed:
                    self._lock.wait()
                self._frames += 1
            if self._is_closed:
                return False
            self._mailbox.append(outcome)
        self._call_soon(self._arrived.set)
        return True

    def _supersede_oldest(self) -> None:
        for index, item in enumerate(self._mailbox):
            if isinstance(item, Frame):
                self._mailbox[index] = Dropped(ref=item.ref, reason=DropReason.SUPERSEDED)
                self._frames -= 1
                return

    def _call_soon(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop has gone: nobody reads any more
            self.close()

    async def read(self, *, batch: int, max_frames: int) -> list[Outcome[Frame]]:
        """Batch number `batch`: at least one item and at most `max_frames` frames; empty once the video has ended.

        Batches are handed out in the order of their numbers, whatever the order of the calls.
        """
        async with self._turned:
            await self._turned.wait_for(lambda: self._turn >= batch or self._is_closed)
            if self._turn > batch:
                raise InvalidRequestError("that batch was handed out already")
            items = await self._take(max_frames)
            self._turn = batch + 1
            self._refs[batch] = [item.ref for item in items if isinstance(item, Frame | Dropped | Failed)]
            while len(self._refs) > REMEMBERED_BATCHES:
                self._refs.popitem(last=False)
            self._turned.notify_all()
        return items

    async def _take(self, max_frames: int) -> list[Outcome[Frame]]:
        while not self._is_ended and not self._is_closed:
            self._arrived.clear()
            items = self._drain(max_frames)
            if items:
                return items
            await self._arrived.wait()
        return []

    def _drain(self, max_frames: int) -> list[Outcome[Frame]]:
        items: list[Outcome[Frame]] = []
        frames = 0
        with self._lock:
            while self._mailbox and frames < max_frames:
                item = self._mailbox.popleft()
                items.append(item)
                frames += isinstance(item, Frame)
                self._is_ended = self._is_ended or isinstance(item, End)
            self._frames -= frames
            self._lock.notify_all()
        return items

    def refs(self, batch: int) -> list[FrameRef]:
        """The frames of a batch that was handed out a short while ago."""
        return self._refs.get(batch, [])

    def close(self) -> None:
        """Let the decoder stop and wake whoever waits; safe from any thread, and twice."""
        with self._lock:
            self._is_closed = True
            self._mailbox.clear()
            self._lock.notify_all()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._wake_readers()))

    async def _wake_readers(self) -> None:
        self._arrived.set()
        async with self._turned:
            self._turned.notify_all()
