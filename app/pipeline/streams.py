"""The live streams of one owner, by name: opened here, or taken over from an owner that is gone."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import TypeVar

from app.core.errors import ConflictError, MovedError, NotFoundError, OverloadedError, UnavailableError
from app.core.result import Summary
from app.core.wire import WireEvent
from app.pipeline.live_stream import LiveStream
from app.pipeline.stream_host import EventBatch, Offer, Offered, Picture, StreamStatus
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import Claim
from app.pipeline.surroundings import Surroundings

T = TypeVar("T")
LOG = logging.getLogger("sightline")
_SWEEP_S = 5.0
_LAST_DELIVERIES_S = 2.0
_FAREWELL_S = 60.0
"""How long the readers of a closed stream may take to fetch its end."""


def new_stream_id() -> str:
    """128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class Streams:
    """A StreamHost that owns its streams itself. One event loop."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._streams: dict[str, LiveStream] = {}
        self._closed: dict[str, tuple[float, LiveStream]] = {}
        self._taking: dict[str, asyncio.Task[LiveStream]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None

    @property
    def held(self) -> list[LiveStream]:
        """Those that this owner has now."""
        return [*self._streams.values()]

    async def open(self, spec: StreamSpec, *, stream_id: str | None = None) -> StreamStatus:
        """A new stream, or the open one of that name; OverloadedError when as many are open as may be.

        InvalidParameterError for a source that may not be pulled, or a sink that the settings do not have.
        """
        self._check_room()
        self._around.check(spec)
        await self.begin()
        stream_id = stream_id or new_stream_id()
        try:
            return self._begin(stream_id, await self._around.store.create(stream_id, spec)).status()
        except ConflictError:
            return await self.show(stream_id)

    async def show(self, stream_id: str) -> StreamStatus:
        """One stream."""
        return await self._on(stream_id, _now(LiveStream.status))

    async def all(self) -> list[StreamStatus]:
        """Every open stream, in the order of opening."""
        found = [await self._shown(stream_id) for stream_id in await self._around.store.streams()]
        return [status for status in found if status is not None]

    async def _shown(self, stream_id: str) -> StreamStatus | None:
        with contextlib.suppress(NotFoundError, OverloadedError):
            return await self.show(stream_id)
        return None

    async def patch(self, stream_id: str, spec: StreamSpec) -> StreamStatus:
        """Go on under another spec, of the same source."""

        async def respecify(stream: LiveStream) -> StreamStatus:
            await stream.respecify(spec)
            return stream.status()

        return await self._on(stream_id, respecify)

    async def close(self, stream_id: str) -> Summary:
        """Close a stream: what is still in it ends as `unavailable`, its readers get the summary."""

        async def close(stream: LiveStream) -> Summary:
            account = await stream.close(UnavailableError("the stream was closed"))
            self._closed[stream_id] = (time.monotonic(), stream)
            self._streams.pop(stream_id, None)
            return account

        return await self._on(stream_id, close)

    async def offer(self, stream_id: str, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        """Capture frames, in this order, where `after_seq` is known; their ends come as events."""
        return await self._on(stream_id, _now(lambda stream: stream.offer(frames, after_seq=after_seq)))

    async def push(self, stream_id: str, frame: Offer) -> WireEvent:
        """Capture one frame and wait for its end. One that was captured before gets the end that it had."""
        return await self._on(stream_id, lambda stream: stream.push(frame))

    async def position(self, stream_id: str, *, after_seq: int = -1, after_event: str | None = None) -> int:
        """Where to begin to read: right after that event where it is remembered, else after the end of that frame."""
        if stream_id in self._closed:
            return self._closed[stream_id][1].outlet.log.position(after_seq=after_seq, after_event=after_event)
        return await self._on(
            stream_id,
            _now(lambda stream: stream.outlet.log.position(after_seq=after_seq, after_event=after_event)),
        )

    async def events(self, stream_id: str, *, position: int, wait_s: float) -> EventBatch:
        """What was told since `position`; waits up to `wait_s` seconds for something. Forgotten events: a Gap first."""
        if stream_id in self._closed:
            return await self._closed[stream_id][1].events(position, wait_s=wait_s)
        return await self._on(stream_id, lambda stream: stream.events(position, wait_s=wait_s))

    async def preview(self, stream_id: str, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest frame after `after_seq`, drawn; None when none comes within `wait_s` seconds."""
        return await self._on(stream_id, lambda stream: stream.preview(after_seq=after_seq, wait_s=wait_s))

    async def stop(self) -> None:
        """Let go of everything without closing it: the next owner goes on from what is saved."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for stream in [*self._streams.values()]:
            await stream.stop()
        self._streams.clear()
        await self._around.deliveries.close(_LAST_DELIVERIES_S)

    async def _on(self, stream_id: str, call: Callable[[LiveStream], Awaitable[T]]) -> T:
        stream = self._streams.get(stream_id) or await self._take_over(stream_id)
        try:
            return await call(stream)
        except MovedError:
            await self._forget(stream)
            raise

    async def _take_over(self, stream_id: str) -> LiveStream:
        """Claim a stream of the store; those who come at the same time wait for the same claim."""
        if (taking := self._taking.get(stream_id)) is None:
            taking = self._taking[stream_id] = asyncio.create_task(self._claimed(stream_id), context=Context())
            taking.add_done_callback(lambda _task: self._taking.pop(stream_id, None))
        return await asyncio.shield(taking)

    async def begin(self) -> None:
        """Sweep from now on, and deliver what an earlier process has left for the sinks; twice is once."""
        if self._beginning is None:
            self._sweeping = asyncio.create_task(self._sweep(), context=Context())
            self._beginning = asyncio.create_task(self._around.deliveries.start(), context=Context())
        await asyncio.shield(self._beginning)

    async def _claimed(self, stream_id: str) -> LiveStream:
        self._check_room()
        await self.begin()
        return self._begin(stream_id, await self._around.store.claim(stream_id))

    def _begin(self, stream_id: str, claim: Claim) -> LiveStream:
        stream = self._streams[stream_id] = LiveStream(stream_id, claim, self._around)
        return stream

    def _check_room(self) -> None:
        if len(self._streams) >= self._around.limits.max_streams:
            raise OverloadedError("as many streams are open as may be")

    async def _forget(self, stream: LiveStream) -> None:
        if self._streams.get(stream.stream_id) is stream:
            del self._streams[stream.stream_id]
        await stream.stop()

    async def _sweep(self) -> None:
        """Close what is over, let go of what has moved, forget what was closed."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            for stream in list(self._streams.values()):
                try:
                    await self._tidy(stream)
                except Exception:
                    LOG.exception("stream %s could not be tidied up", stream.stream_id)
            now_s = time.monotonic()
            self._closed = {name: kept for name, kept in self._closed.items() if now_s - kept[0] < _FAREWELL_S}

    async def _tidy(self, stream: LiveStream) -> None:
        if stream.has_moved:
            await self._forget(stream)
        elif stream.is_done:
            with contextlib.suppress(UnavailableError, NotFoundError):
                await self.close(stream.stream_id)


def _now(call: Callable[[LiveStream], T]) -> Callable[[LiveStream], Awaitable[T]]:
    async def called(stream: LiveStream) -> T:
        return call(stream)

    return called
