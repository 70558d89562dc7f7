"""Live streams in memory, behind the real seam: owners that die, move and dawdle when a test says so."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from app.contract.events import wire
from app.core.errors import ConflictError, MovedError, NotFoundError, SightlineError, UnavailableError
from app.core.frame import FrameRef
from app.core.ledger import Ledger
from app.core.outcome import Dropped, DropReason
from app.core.result import FrameResult, Status, Summary
from app.core.wire import WireEvent
from app.pipeline.event_log import EventLog
from app.pipeline.results import drop, failure
from app.pipeline.stream_host import EventBatch, Offer, Offered, Picture, StreamHost, StreamStatus
from app.pipeline.stream_spec import StreamSpec

SOON_S = 0.01


def sees_nothing_wrong(_data: bytes | memoryview) -> None:
    """Every picture is fine."""


@dataclass(slots=True)
class Kept:
    """What outlives an owner: spec, ledger of the ended frames, events. `open` does not."""

    spec: StreamSpec
    log: EventLog
    ledger: Ledger = field(default_factory=Ledger)
    open: OrderedDict[int, Offer] = field(default_factory=OrderedDict)
    ended_seq: int = -1
    last_seq: int = -1
    is_closed: bool = False


class FakeHost:
    """A StreamHost. Frames end as soon as they come, unless `is_slow`; then when `answer` says so.

    `drops` names frames that end as dropped, `judge` raises for pictures that are none. Every call that names a stream
    raises UnavailableError while `is_dead`, and MovedError as often as `moves` says.
    """

    def __init__(
        self,
        *,
        window: int = 4,
        judge: Callable[[bytes | memoryview], None] = sees_nothing_wrong,
        history: int = 1024,
    ) -> None:
        self.window = window
        self.is_slow = False
        self.is_dead = False
        self.moves = 0
        self.drops: set[int] = set()
        self.offers: list[list[Offer]] = []
        self.polls = 0
        self._judge = judge
        self._history = history
        self._streams: dict[str, Kept] = {}

    def die(self) -> None:
        """The owner is gone, and with it every frame that had no end; who waits for its events hears of it."""
        self.is_dead = True
        self.forget()

    def forget(self) -> None:
        """Another owner stands in its place, without a word."""
        for kept in self._streams.values():
            for seq in kept.open:
                kept.ledger.settle(_result(FrameRef(stream_id="lost", seq=seq)))
            ended = kept.ledger.summary(stream_id="", epoch=0)
            lost = len(kept.open)
            kept.ledger = Ledger(answered=ended.answered - lost, dropped=ended.dropped, errors=ended.errors)
            kept.open.clear()
            kept.last_seq = kept.ended_seq
            kept.log.wake()

    def answer(self, stream_id: str, *, frames: int | None = None) -> None:
        """End open frames in order, all of them by default."""
        kept = self._streams[stream_id]
        for seq in list(kept.open)[:frames]:
            end = self._end(FrameRef(stream_id=stream_id, seq=seq), kept.open.pop(seq))
            kept.ledger.settle(end)
            kept.ended_seq = seq
            kept.log.append([wire(end)])

    def tell(self, stream_id: str, *events: WireEvent) -> None:
        """Other events of the stream."""
        self._streams[stream_id].log.append(events)

    def bodies(self, stream_id: str) -> list[bytes]:
        """Every event that is remembered, as it was told."""
        return [event.body for event in self._streams[stream_id].log._events]

    def last_seq(self, stream_id: str) -> int:
        """The newest captured frame, as its owner would tell."""
        return self._streams[stream_id].last_seq

    async def open(self, spec: StreamSpec) -> StreamStatus:
        stream_id = f"{len(self._streams) + 1:032x}"
        self._streams[stream_id] = Kept(spec=spec, log=EventLog(stream_id, history=self._history))
        return await self.show(stream_id)

    async def show(self, stream_id: str) -> StreamStatus:
        kept = self._live(stream_id)
        return StreamStatus(
            stream_id=stream_id,
            spec=kept.spec,
            state="streaming",
            summary=kept.ledger.summary(stream_id=stream_id, epoch=0),
            last_seq=kept.last_seq,
            window=self.window,
            fps=0.0,
            age_s=None,
        )

    async def all(self) -> list[StreamStatus]:
        return [await self.show(stream_id) for stream_id in self._streams]

    async def patch(self, stream_id: str, spec: StreamSpec) -> StreamStatus:
        self._owned(stream_id).spec = spec
        return await self.show(stream_id)

    async def close(self, stream_id: str) -> Summary:
        kept = self._owned(stream_id)
        self.answer(stream_id)
        summary = kept.ledger.summary(stream_id=stream_id, epoch=0)
        kept.is_closed = True
        kept.log.append([wire(summary, after_seq=kept.last_seq)])
        return summary

    async def offer(self, stream_id: str, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        self.offers.append(list(frames))
        kept = self._live(stream_id)
        if after_seq > kept.last_seq:
            raise ConflictError("not known here")
        for frame in frames:
            seq = kept.last_seq + 1 if frame.seq is None else frame.seq
            if seq > kept.last_seq:
                kept.last_seq = seq
                kept.ledger.capture(seq)
                kept.open[seq] = frame
        if not self.is_slow:
            self.answer(stream_id)
        return Offered(last_seq=kept.last_seq, window=self.window)

    async def push(self, stream_id: str, frame: Offer) -> WireEvent:
        offered = await self.offer(stream_id, [frame])
        end = self._streams[stream_id].log.end_of(offered.last_seq if frame.seq is None else frame.seq)
        if end is None:
            raise ConflictError("its end is not remembered")
        return end

    async def position(self, stream_id: str, *, after_seq: int = -1, after_event: str | None = None) -> int:
        return self._owned(stream_id).log.position(after_seq=after_seq, after_event=after_event)

    async def events(self, stream_id: str, *, position: int, wait_s: float) -> EventBatch:
        self.polls += 1
        kept = self._owned(stream_id)
        events, position = await kept.log.read(position, wait_s=0 if kept.is_closed else wait_s)
        kept = self._owned(stream_id)
        return EventBatch(events=events, position=position, is_closed=kept.is_closed)

    async def preview(self, stream_id: str, *, after_seq: int, wait_s: float) -> Picture | None:
        self._owned(stream_id)
        await asyncio.sleep(wait_s)
        return Picture(seq=after_seq + 1, jpeg=b"")

    def _owned(self, stream_id: str) -> Kept:
        if self.is_dead:
            raise UnavailableError(retry_after_s=SOON_S)
        if self.moves:
            self.moves -= 1
            raise MovedError(retry_after_s=SOON_S)
        if stream_id not in self._streams:
            raise NotFoundError("there is no such stream")
        return self._streams[stream_id]

    def _live(self, stream_id: str) -> Kept:
        """A closed stream can only be read."""
        kept = self._owned(stream_id)
        if kept.is_closed:
            raise NotFoundError("this stream is closed")
        return kept

    def _end(self, ref: FrameRef, frame: Offer) -> FrameResult:
        if frame.dropped is not None:
            return drop(Dropped(ref=ref, reason=frame.dropped))
        if ref.seq in self.drops:
            return drop(Dropped(ref=ref, reason=DropReason.SAMPLED))
        try:
            self._judge(frame.data)
        except SightlineError as error:
            return failure(ref, error)
        return replace(_result(ref), metadata=frame.metadata)


def _result(ref: FrameRef) -> FrameResult:
    return replace(drop(Dropped(ref=ref, reason=DropReason.SAMPLED)), status=Status.RESULT, reason=None)


_CHECKED: type[StreamHost] = FakeHost
"""mypy holds the fake to the protocol."""
