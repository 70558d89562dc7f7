"""One call of `StreamingInfer`: frames of many streams in, each stream's events out, none at another's cost."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from app.api.grpc_status import known
from app.api.stream_pump import PumpPorts, Start, StreamPump
from app.api.told import Ack, Credit, GoAway, Told, refusal
from app.contract import vision_pb2
from app.contract.messages import to_event, to_frame_result
from app.contract.vision_pb2 import FrameResult, VideoFrame
from app.core.errors import InvalidParameterError, OverloadedError, SightlineError, UnavailableError
from app.core.wire import WireEvent

_MAX_EVENTS: Final = 64
"""Of other kinds in one message: clients take 4 MiB a message unless they say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """`streams` on one call; `waiting` messages that the client has not taken yet.

    A client that takes nothing for `stalled_s` seconds, or sends and is told nothing for `idle_s`, is cut off.
    """

    streams: int = 64
    waiting: int = 16
    stalled_s: float = 30.0
    idle_s: float = 900.0


class StreamingCall:
    """Iterate `answers` once. Afterwards `error` says why it ended, None when the client had sent all that it had."""

    def __init__(self, ports: PumpPorts, limits: CallLimits) -> None:
        self.error: SightlineError | None = None
        self._ports = ports
        self._limits = limits
        self._pumps: dict[str, StreamPump] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._out: asyncio.Queue[FrameResult | None] = asyncio.Queue(limits.waiting)
        self._is_half_closed = False
        self._heard_s = 0.0
        self._closing: asyncio.Task[None] | None = None

    async def answers(self, frames: AsyncIterator[VideoFrame]) -> AsyncGenerator[FrameResult, None]:
        """What the client is told, as fast as it takes it."""
        self._heard_s = asyncio.get_running_loop().time()
        try:
            self._spawn(self._read(frames))
            self._spawn(self._watch())
            while (answer := await self._next()) is not None and self.error is None:
                yield answer
            if self.error is None and self._ports.draining.is_set():
                self.error = UnavailableError("this replica is going away: resume with the token")
        finally:
            await self._close()

    async def _next(self) -> FrameResult | None:
        loop, idle_s = asyncio.get_running_loop(), self._limits.idle_s
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    return await self._out.get()
            except TimeoutError:
                if loop.time() - self._heard_s >= idle_s:
                    self.error = UnavailableError("nothing was sent for too long")
                    return None

    async def _read(self, frames: AsyncIterator[VideoFrame]) -> None:
        try:
            async for frame in frames:
                self._heard_s = asyncio.get_running_loop().time()
                await self._route(frame)
        except Exception as error:  # noqa: BLE001  the call ends in it
            self.error = known(error)
        self._is_half_closed = True
        for pump in self._pumps.values():
            pump.finish()
        await self._end_if_done()

    async def _watch(self) -> None:
        await self._ports.draining.wait()
        await self._end_if_done()

    async def _end_if_done(self) -> None:
        is_ending = self._is_half_closed or self._ports.draining.is_set()
        if self.error is not None or (is_ending and not self._pumps):
            await self._put(None)

    async def _route(self, frame: VideoFrame) -> None:
        """To the frame's stream. A stream is never waited for, only the client to take its refusal."""
        try:
            pump = self._pumps.get(frame.stream_id) or self._opened(frame)
        except SightlineError as error:
            await self._put(_refused(error, stream_id=frame.stream_id, seq=frame.seq))
            return
        try:
            pump.take(frame)
        except OverloadedError as error:
            pump.fail(error)

    def _opened(self, frame: VideoFrame) -> StreamPump:
        if not frame.stream_id:
            raise InvalidParameterError("stream_id: which stream is this frame of?")
        if len(self._pumps) >= self._limits.streams:
            raise OverloadedError(f"at most {self._limits.streams} streams on one call")
        pump = StreamPump(frame.stream_id, self._ports, start=Start(token=frame.resume_token or None))
        self._pumps[frame.stream_id] = pump
        self._spawn(self._carry(frame.stream_id, pump, first_seq=frame.seq))
        return pump

    async def _carry(self, stream_id: str, pump: StreamPump, *, first_seq: int) -> None:
        """One stream's part of the answers; how it ends is told in its own name."""
        try:
            async with aclosing(pump.told()) as lists:
                async for told in lists:
                    for message in messages(stream_id, told):
                        await self._put(message)
        except Exception as error:  # noqa: BLE001  this stream ends in it, and no other
            await self._put(_refused(known(error), stream_id=stream_id, seq=first_seq))
        finally:
            await pump.close()
            del self._pumps[stream_id]
        await self._end_if_done()

    async def _put(self, message: FrameResult | None) -> None:
        try:
            async with asyncio.timeout(self._limits.stalled_s):
                await self._out.put(message)
        except TimeoutError:
            # Nobody can end a call whose client takes nothing; but it need not hold pictures.
            self.error = OverloadedError("nothing was read for too long")
            self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def messages(stream_id: str, told: Sequence[Told]) -> list[FrameResult]:
    """What is told as messages: events of other kinds go with the frame that they stand before, notes with the last."""
    made: list[FrameResult] = []
    pending: list[vision_pb2.Event] = []
    notes = FrameResult()
    for item in told:
        match item:
            case WireEvent(kind="FrameResult"):
                made.append(to_frame_result(item.body))
                made[-1].events.extend(pending)
                pending.clear()
            case WireEvent():
                pending.append(to_event(item.body, item.kind))
                if len(pending) == _MAX_EVENTS:
                    made.append(FrameResult(stream_id=stream_id, events=pending))
                    pending.clear()
            case Credit():
                notes.credit.frames += item.frames
            case Ack():
                notes.ack.seq = item.seq
            case GoAway():
                notes.go_away.CopyFrom(vision_pb2.GoAway(**_fields(item)))
    if pending or (notes.ByteSize() and not made):
        made.append(FrameResult(stream_id=stream_id, events=pending))
    if notes.ByteSize():
        made[-1].MergeFrom(notes)
    return made


def _refused(error: SightlineError, *, stream_id: str, seq: int) -> FrameResult:
    return to_frame_result(refusal(error, stream_id=stream_id, seq=seq).body)


def _fields(item: GoAway) -> dict[str, Any]:
    return {
        "resume_token": item.resume_token,
        "reason": item.reason,
        "reconnect_after_s": item.reconnect_after_s,
    }
