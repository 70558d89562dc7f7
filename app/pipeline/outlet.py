"""What leaves a stream: saved first, then told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from app.core.errors import MovedError, UnavailableError
from app.core.wire import WireEvent
from app.pipeline.event_log import EventLog
from app.pipeline.stream_store import StreamState, StreamStore

LOG = logging.getLogger("sightline")
_RETRY_S = 0.25
"""Between two tries to reach a store that is restarting."""


class Outlet:
    """Takes events in order; each is in the log, and its waiters woken, when the store has it and the state with it.

    `state` is asked whenever something is saved, for the state after all events that were taken until then. Then
    `deliver` puts what was told from place `delivered` on where the sinks' events wait, also what an earlier owner told
    last. When the store says that the stream has another owner, nothing is told any more and `has_moved` is set.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        term: int,
        store: StreamStore,
        log: EventLog,
        state: Callable[[], StreamState],
        deliver: Callable[[Sequence[WireEvent]], Awaitable[None]],
        delivered: int = 0,
    ) -> None:
        self.log = log
        self.has_moved = False
        self._stream_id = stream_id
        self._term = term
        self._store = store
        self._state = state
        self._deliver = deliver
        self.delivered = delivered
        """The place in the log of the first event that may not be with the sinks' outbox."""
        self._taken: list[WireEvent] = []
        self._waiters: dict[int, asyncio.Future[WireEvent]] = {}
        self._wanted = asyncio.Event()
        self._wanted.set()  # the first state is worth a save: without it a takeover would begin an epoch
        self._idle = asyncio.Event()

    def take(self, events: Sequence[WireEvent]) -> None:
        """Tell these next."""
        self._taken += events
        self.touch()

    def touch(self) -> None:
        """The state has changed: save it, events or not."""
        self._idle.clear()
        self._wanted.set()

    def end_of(self, seq: int) -> asyncio.Future[WireEvent]:
        """The result of a frame, when it is told; MovedError when that will not be here."""
        if seq not in self._waiters:
            self._waiters[seq] = asyncio.get_running_loop().create_future()
        return self._waiters[seq]

    def waits_for(self, seq: int) -> bool:
        """Whether somebody waits for that result."""
        return seq in self._waiters

    async def run(self) -> None:
        """Save and tell, until cancelled or moved. An owner that fails at it gives the stream up to the next."""
        try:
            await self._run()
        except Exception:
            LOG.exception("stream %s could not be saved", self._stream_id)
            self._fall_silent()

    async def _run(self) -> None:
        while not self.has_moved:
            await self._wanted.wait()
            self._wanted.clear()
            events, self._taken = self._taken, []
            if await self._save(events):
                self._tell(events)
                await self._hand_on()
            if not self._taken:
                self._idle.set()

    async def flush(self) -> None:
        """Wait until everything taken is told."""
        await self._idle.wait()

    async def _save(self, events: Sequence[WireEvent]) -> bool:
        state = self._state()
        while True:
            try:
                await self._store.save(self._stream_id, term=self._term, state=state, events=events)
            except MovedError:
                self._fall_silent()
                return False
            except UnavailableError:
                LOG.warning("the streams' store does not answer; results of %s wait", self._stream_id)
                await asyncio.sleep(_RETRY_S)
            else:
                return True

    async def _hand_on(self) -> None:
        """Put what was told where the sinks' events wait; what cannot be put comes again with what follows."""
        end = self.log.end
        try:
            await self._deliver(self.log.since(self.delivered))
        except UnavailableError as error:
            LOG.warning("events of stream %s wait to be put down for its sinks: %s", self._stream_id, error)
            asyncio.get_running_loop().call_later(_RETRY_S, self._wanted.set)
        else:
            self.delivered = end

    def _tell(self, events: Sequence[WireEvent]) -> None:
        self.log.append(events)
        for event in events:
            waiter = self._waiters.pop(event.seq, None) if event.kind == "FrameResult" else None
            if waiter is not None and not waiter.done():
                waiter.set_result(event)

    def _fall_silent(self) -> None:
        self.has_moved = True
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(MovedError())
                waiter.exception()  # somebody who has left does not have to fetch it
        self._waiters.clear()
        self._idle.set()
        self.log.wake()
