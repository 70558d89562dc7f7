"""One stream on one connection: what its client sends goes to whoever owns the stream, what is told comes back."""

import asyncio
import contextvars
import zlib
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeVar

from app.api.bodies import BodyBudget
from app.api.resume import ResumeTokens
from app.api.sending import SenderLimits, StreamSender
from app.api.sent_frame import is_greeting, sent_frame
from app.api.told import Ack, Credit, GoAway, Told, refusal
from app.contract.vision_pb2 import VideoFrame
from app.core.errors import (
    ConflictError,
    InvalidParameterError,
    NotFoundError,
    OverloadedError,
    SightlineError,
    UnavailableError,
)
from app.core.wire import WireEvent
from app.pipeline.stream_host import EventBatch, StreamHost, StreamStatus
from app.pipeline.tenants import Client

T = TypeVar("T")
NEWEST: Final = (1 << 63) - 1
"""Reading begins after the newest event."""
_MAX_REFUSALS: Final = 64
_LONGEST_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where to read from: after the end of frame `since`, or where `token` says, the later; by default from now on."""

    since: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpLimits:
    """`busy_wait_s` is how long nothing may be told before the owner is asked whether it has our frames at all.

    After a GoAway the frames that are open have `drain_s` to come to their end.
    """

    sender: SenderLimits = field(default_factory=SenderLimits)
    busy_wait_s: float = 1.0
    idle_wait_s: float = 5.0
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpPorts:
    """What all pumps of a replica share. When `draining` is set, every connection is asked to go elsewhere."""

    host: StreamHost
    tokens: ResumeTokens
    budget: BodyBudget
    draining: asyncio.Event
    limits: PumpLimits = field(default_factory=PumpLimits)

    def seen_by(self, client: Client) -> Self:
        """The same with the streams of that client alone."""
        return replace(self, host=client.host)


class StreamPump:
    """Iterate `told` once, `take` what the client sends meanwhile, and `close` at the end, however that comes."""

    def __init__(self, stream_id: str, ports: PumpPorts, *, start: Start) -> None:
        self.is_closed = False
        """Whether the stream itself has ended; when not, `told` ended because the replica drains, or on `finish`."""
        self.sender = StreamSender(ports.budget, ports.limits.sender)
        self._stream_id = stream_id
        self._ports = ports
        self._start = start
        self._position = 0
        self._start_seq = -1
        self._refusals: list[WireEvent] = []
        self._wanted = asyncio.Event()  # there is something to offer
        self._changed = asyncio.Event()  # there is something to tell
        self._is_finishing = False
        self._failure: SightlineError | None = None
        self._went_away: str | None = None
        self._drained_s = float("inf")
        self._tasks: set[asyncio.Task[Any]] = set()

    def take(self, frame: VideoFrame) -> None:
        """Take a message in, without waiting; OverloadedError from a sender that knows no bounds.

        A frame that cannot be captured is refused: the client is told, and the stream goes on.
        """
        if is_greeting(frame):
            return
        try:
            sent = sent_frame(frame)
        except InvalidParameterError as error:
            self._refuse(error, seq=frame.seq)
        else:
            self.sender.take(sent)
        self._wanted.set()
        self._changed.set()  # one that is passed over has its credit back at once

    def fail(self, error: SightlineError) -> None:
        """Let `told` end in this error."""
        self._failure = error
        self._changed.set()

    def finish(self) -> None:
        """The client sends nothing more: `told` ends when what it has sent came to its end."""
        self._is_finishing = True
        self._changed.set()

    async def close(self) -> None:
        """Stop, and forget what was sent and has no end yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.sender.release()

    async def told(self) -> AsyncGenerator[list[Told], None]:
        """What to send to the client, in lists, first its credits. Raises the SightlineError that ends it.

        Nothing is read from the owner before the list before was taken: a slow client holds up only itself.
        """
        reading: asyncio.Task[EventBatch] | None = None
        offering: asyncio.Task[None] | None = None
        opening = self._spawn(self._open())
        self._spawn(self._watch(self._ports.draining))
        while True:
            await self._until_changed()
            told: list[Told] = []
            if self._failure is not None:
                raise self._failure
            if opening.done() and offering is None:
                opening.result()
                offering = self._spawn(self._offer_on())
            if offering is not None and offering.done():
                offering.result()
            if reading is not None and reading.done():
                batch, reading = reading.result(), None
                told += self._noted(batch)
            told += self._notes()
            if self._ports.draining.is_set():
                told += await self._farewell(is_open=offering is not None)
            if told:
                yield told
            if self._is_over():
                return
            if offering is not None and reading is None:
                reading = self._spawn(self._read())

    def _refuse(self, error: SightlineError, *, seq: int) -> None:
        if len(self._refusals) >= _MAX_REFUSALS:
            raise OverloadedError("frame after frame that cannot be captured")
        self.sender.pass_over()
        self._refusals.append(refusal(error, stream_id=self._stream_id, seq=seq))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """In a context of its own: calls to owners from one request's context would wait for each other in Serve."""
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled():
            task.exception()  # seen, also where `told` has ended for another reason

    async def _watch(self, draining: asyncio.Event) -> None:
        await draining.wait()

    async def _until_changed(self) -> None:
        left_s = self._drained_s - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None if left_s == float("inf") else max(0.0, left_s)):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _open(self) -> None:
        """Find the stream, whoever owns it by now."""
        host, start = self._ports.host, self._start
        while True:
            try:
                since = start.since
                if start.token is not None:
                    noted = await self._ports.tokens.read(start.token, stream_id=self._stream_id)
                    since = noted if since is None else max(noted, since)
                # The position first: what is told in between is read then, and not missed.
                self._position = await host.position(self._stream_id, after_seq=NEWEST if since is None else since)
                status = await self._shown()
            except UnavailableError as error:
                await _pause(error)
                continue
            break
        if status is None:
            self.sender.stop()
            return
        in_flight = status.summary.in_flight
        if since is None:
            # Ends come in order: the oldest open frame lies at least so far back.
            self._start_seq = max(-1, status.last_seq - in_flight)
            told = -1 if in_flight else status.last_seq
        else:
            self._start_seq = since
            told = min(since, status.last_seq)
        self.sender.open(last_seq=status.last_seq, told=told, window=status.window)
        self._wanted.set()

    async def _shown(self) -> StreamStatus | None:
        """The stream; None when it is closed, while its last events can still be read."""
        with suppress(NotFoundError):
            return await self._ports.host.show(self._stream_id)
        return None

    async def _offer_on(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while True:
                after_seq = self.sender.after_seq
                if not (offers := self.sender.batch()):
                    break
                try:
                    offered = await self._ports.host.offer(self._stream_id, offers, after_seq=after_seq)
                    self.sender.accepted(window=offered.window)
                except ConflictError:  # a new owner: in front of these belong those that the old one took with it
                    self.sender.offer_again()
                except UnavailableError as error:
                    self.sender.offer_again()
                    await _pause(error)
                except NotFoundError:
                    return  # it was closed under our hands; what is read says so

    async def _read(self) -> EventBatch:
        """The next events, or the last."""
        limits = self._ports.limits
        while True:
            wait_s = limits.idle_wait_s if self.sender.awaited is None else limits.busy_wait_s
            try:
                batch = await self._ports.host.events(self._stream_id, position=self._position, wait_s=wait_s)
                if batch.events or batch.is_closed:
                    return batch
                await self._ask_owner()
            except UnavailableError as error:
                self._again()
                await _pause(error)

    async def _ask_owner(self) -> None:
        """A new owner that took over without a word knows nothing of frames that the old one had not ended."""
        awaited = self.sender.awaited
        if awaited is None:
            return
        status = await self._shown()
        if status is not None and status.last_seq < awaited:
            self._again()

    def _again(self) -> None:
        self.sender.offer_again()
        self._wanted.set()

    def _noted(self, batch: EventBatch) -> tuple[WireEvent, ...]:
        self._position = batch.position
        self.is_closed = batch.is_closed
        for event in batch.events:
            if event.kind == "FrameResult":
                self.sender.settle(event.seq)
        return batch.events

    def _notes(self) -> list[Told]:
        notes: list[Told] = [*self._refusals]
        self._refusals.clear()
        if (seq := self.sender.ack()) is not None:
            notes.append(Ack(seq=seq))
        if (frames := self.sender.grant()) > 0:
            notes.append(Credit(frames=frames))
        return notes

    async def _farewell(self, *, is_open: bool) -> list[Told]:
        """A GoAway at first, and once more at the end, if more was told since."""
        if self._drained_s == float("inf"):
            self.sender.stop()
            self._drained_s = asyncio.get_running_loop().time() + self._ports.limits.drain_s
        if not self._is_over() and (self._went_away is not None or not is_open):
            return []
        token = self._start.token or ""  # where nothing better is known; the client knows itself what it has
        with suppress(UnavailableError):
            if is_open:
                seq = max(self.sender.told, self._start_seq)
                token = await self._ports.tokens.make(self._stream_id, seq=seq)
        if token == self._went_away:
            return []
        self._went_away = token
        return [GoAway(resume_token=token, reason="draining", reconnect_after_s=_spread_s(self._stream_id))]

    def _is_over(self) -> bool:
        is_leaving = self._is_finishing or self._went_away is not None
        is_late = asyncio.get_running_loop().time() >= self._drained_s
        return self.is_closed or is_late or (is_leaving and self.sender.is_idle)


async def _pause(error: UnavailableError) -> None:
    await asyncio.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))


def _spread_s(stream_id: str) -> float:
    """0.5 to 1.5 s, the same for one stream: not all that are sent away come back at once."""
    return 0.5 + zlib.crc32(stream_id.encode()) % 1000 / 1000
