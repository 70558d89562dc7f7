"""The session of one stream: connection after connection, so that to its user it looks like one."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.client.connection import OPEN_S, Connection, Door, LostError, dial
from app.client.errors import UnreachableError
from app.client.mark import ReadingMark
from app.client.outbox import Outbox
from app.client.reading import Ack, Credit, GoAway, Told
from app.client.unread import Unread
from app.core.errors import InternalError, NotFoundError, SightlineError, UnavailableError
from app.core.result import FrameResult, Gap, Summary
from app.policy.reconnect import MAX_ANNOUNCED_S, Backoff, ReconnectPolicy
from app.policy.session import (
    Connect,
    Connected,
    ConnectFailed,
    Effect,
    Event,
    FrameArrived,
    Lost,
    Session,
    SessionState,
    Start,
    Stopped,
    transition,
)

LOG = logging.getLogger("sightline.client")
STEADY_S: Final = 5.0
"""A connection that stood for so long, or brought an event, was one; the time to give up counts from its end."""
OnState = Callable[[SessionState], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How a session comes back, and what it holds.

    After `give_up_s` seconds without a connection it ends in an UnreachableError; None: it goes on trying. At most
    `max_frames` frames of `max_bytes` are without their end, and `max_events` events unread.
    """

    backoff: Backoff = Backoff.EXPONENTIAL
    give_up_s: float | None = 60.0
    max_frames: int = 32
    max_bytes: int = 64 * 1024**2
    max_events: int = 4096


class LiveSession:
    """Sends the frames of `outbox`, collects events in `unread`, and connects anew until it is closed or gives up.

    One that `is_reader` takes no more events than are read; a sender goes on reading, or nothing would come to its end.
    The numbers of frames always go on over a cut: which the service has, it says itself.
    """

    def __init__(
        self,
        door: Door,
        *,
        outbox: Outbox,
        since: int,
        limits: SessionLimits,
        is_reader: bool,
        on_state: OnState | None = None,
    ) -> None:
        self.outbox = outbox
        self.unread = Unread(max_events=limits.max_events)
        self.cuts = 0
        """Connections that were lost so far, those included that the service gave up itself."""
        self._door = door
        self._mark = ReadingMark(since)
        self._is_reader = is_reader
        self._on_state = on_state
        self._give_up_s = limits.give_up_s
        self._policy = ReconnectPolicy(backoff=Backoff(limits.backoff))
        self._session = Session()
        self._token = door.token
        self._after_s: float | None = None  # the service itself said when to come again
        self._cause: SightlineError = UnavailableError("no connection yet")
        self._error: SightlineError | None = None
        self._changed = asyncio.Event()
        self._down_since_s = self._now_s()
        self._up_since_s = 0.0
        self._has_news = False
        self._summary: Summary | None = None
        self._is_over = False
        self._task = asyncio.create_task(self._run())

    @property
    def state(self) -> SessionState:
        """Where the session stands; `IDLE` when it is over."""
        return self._session.state

    @property
    def is_over(self) -> bool:
        """Whether no connection will follow."""
        return self._is_over

    async def put(self, data: bytes, *, captured_at: float, metadata: dict[str, str]) -> int:
        """Have a frame sent, once there is room for it; its number. Raises what ended the session."""
        while self.outbox.is_full:
            await self._change()
        self._check_open()
        seq = self.outbox.add(data, captured_at=captured_at, metadata=metadata)
        self._changed.set()
        await asyncio.sleep(0)  # a sender that never waits would keep everything else from running
        return seq

    async def drain(self) -> None:
        """Wait until every frame has its end. Raises what ended the session before that."""
        while len(self.outbox):
            await self._change()

    async def finish(self, summary: Summary, *, within_s: float) -> None:
        """The service has closed the stream: read to its last word, which may be lost in a cut."""
        self._summary = summary
        await asyncio.wait({self._task}, timeout=within_s)
        if self._mark.is_new(summary):
            self.unread.put(summary)
        await self.close()

    async def close(self) -> None:
        """Let go of the connection; what was not read yet can still be."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def _unless_finished(self, error: SightlineError) -> SightlineError | None:
        return None if self._summary is not None and isinstance(error, NotFoundError) else error

    def _check_open(self) -> None:
        if self.is_over:
            raise self._error or NotFoundError("this stream is closed")

    async def _change(self) -> None:
        self._check_open()
        self._changed.clear()
        await self._changed.wait()

    async def _run(self) -> None:
        try:
            effects = self._step(Start())
            while (wait_s := self._wait_s(effects)) is not None:
                await asyncio.sleep(wait_s)
                effects = self._step(await self._one_connection())
        except SightlineError as error:
            self._error = self._unless_finished(error)
        except Exception as error:
            LOG.exception("a session failed")
            self._error = InternalError(f"a fault of the client: {type(error).__name__}")
        finally:
            self._is_over = True
            self._step(Stopped())
            self.outbox.disconnect()
            self.unread.end(self._error)
            self._changed.set()

    def _wait_s(self, effects: tuple[Effect, ...]) -> float | None:
        """Seconds until the next connection, None without one; UnreachableError when it would come too late."""
        connect = next((effect for effect in effects if isinstance(effect, Connect)), None)
        if connect is None:
            return None
        wait_s = connect.after_s if self._after_s is None else min(self._after_s, MAX_ANNOUNCED_S)
        self._after_s = None
        if self._give_up_s is not None and self._now_s() + wait_s > self._down_since_s + self._give_up_s:
            raise UnreachableError(
                f"no lasting connection for {self._give_up_s:g} s: {self._cause.detail}"
            ) from self._cause
        return wait_s

    async def _one_connection(self) -> Event:
        """One connection, from dialling to its end; what its end means to the session."""
        token = self._token
        try:
            async with await dial(self._door, since=self._mark.since, token=token) as connection:
                return await self._converse(connection)
        except LostError as lost:
            self._cause = lost.cause
            self._after_s = self._after_s or lost.after_s or None
        except SightlineError as error:
            if token is None:
                raise
            self._cause = error
            self._token = None  # too old, maybe; without it we say as well what we have
        return self._down()

    def _down(self) -> Event:
        code = self._cause.code
        LOG.info("stream %s: no connection, %s", self._door.stream_id, self._cause.detail)
        if self.state is not SessionState.STREAMING:
            return ConnectFailed(code=code)
        self.cuts += 1
        if self._has_news or self._now_s() - self._up_since_s >= STEADY_S:
            self._down_since_s = self._now_s()
        return Lost(code=code)

    async def _converse(self, connection: Connection) -> Event:
        """Both ways at once, until the stream ends; LostError when the connection does."""
        try:
            async with asyncio.timeout(OPEN_S):
                first = await connection.read()
        except TimeoutError:
            raise LostError(UnavailableError("the service accepts, and says nothing")) from None
        if first is None:
            return Stopped()
        self._step(Connected())
        self._up_since_s, self._has_news, self._token = self._now_s(), False, None
        self.outbox.connect()
        self._note(first)
        reading = asyncio.create_task(self._read(connection))
        sending = asyncio.create_task(self._send(connection))
        try:
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            await reading
        finally:
            self.outbox.disconnect()
            for task in (reading, sending):
                task.cancel()
            await asyncio.gather(reading, sending, return_exceptions=True)
        return Stopped()

    async def _read(self, connection: Connection) -> None:
        while True:
            if self._is_reader:
                await self.unread.room()
            message = await connection.read()
            if message is None:
                return
            self._note(message)

    async def _send(self, connection: Connection) -> None:
        """Until the connection breaks: what came before that is still to be read."""
        while True:
            frame = self.outbox.take()
            if frame is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                await connection.send(frame)
            except LostError:
                return
            await asyncio.sleep(0)  # or a burst would go on into a connection that is gone

    def _note(self, message: Told) -> None:
        match message:
            case Credit(frames=frames):
                self.outbox.grant(frames)
            case Ack(seq=seq):
                self.outbox.settle(seq)
            case GoAway(resume_token=token, reconnect_after_s=after_s):
                self._token, self._after_s = token or None, max(0.0, after_s)
                self.outbox.disconnect()
            case FrameResult(event_id="", seq=seq):
                self.outbox.refuse(seq)
                self.unread.put(message)
            case _:
                if isinstance(message, FrameResult):
                    self.outbox.settle(message.seq)
                    self._step(FrameArrived())
                elif isinstance(message, Gap):
                    self.outbox.settle(message.next_seq - 1)
                if self._mark.is_new(message):
                    self._has_news = True
                    self.unread.put(message)
        self._changed.set()

    def _step(self, event: Event) -> tuple[Effect, ...]:
        before = self.state
        jitter = random.random()  # noqa: S311  spreads callers in time
        self._session, effects = transition(self._session, event, policy=self._policy, jitter=jitter)
        if self.state is not before and self._on_state is not None:
            self._on_state(self.state)
        return effects

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
