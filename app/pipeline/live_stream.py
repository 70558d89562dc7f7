"""One live stream at its owner: frames in at any rate, one batch at a time on the way, ends out in order."""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from app.contract.events import wire
from app.core import metrics as table
from app.core.errors import (
    ConflictError,
    InternalError,
    MovedError,
    NotFoundError,
    SightlineError,
    SnapshotError,
)
from app.core.frame import Detections, EncodedFrame, Frame, FrameRef
from app.core.ledger import Ledger
from app.core.outcome import Dropped, DropReason, End, Failed, Outcome
from app.core.result import FrameResult, Gap, Summary
from app.core.result import StreamState as StateEvent
from app.core.wire import WireEvent
from app.pipeline.event_log import EventLog
from app.pipeline.frame_metrics import note
from app.pipeline.intake import StreamIntake
from app.pipeline.models import spec_on
from app.pipeline.outlet import Outlet
from app.pipeline.results import failure, result_of, typed
from app.pipeline.stream_detection import StreamDetection
from app.pipeline.stream_host import EventBatch, Offer, Offered, Picture, StreamStatus
from app.pipeline.stream_memory import StreamMemory, Told
from app.pipeline.stream_preview import StreamPreview
from app.pipeline.stream_source import StreamSource
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import Claim, StreamState
from app.pipeline.surroundings import Surroundings

LOG = logging.getLogger("sightline")
_RATE_S = 5.0
"""Over which answers a second are counted."""


class LiveStream:
    """A stream between its sender and its readers. All calls happen on one event loop.

    Once the store says that the stream has another owner, every call raises MovedError.
    """

    def __init__(self, stream_id: str, claim: Claim, around: Surroundings) -> None:
        self.stream_id = stream_id
        self.spec = claim.spec
        self.touched_s = time.monotonic()
        self.state = "idle"
        self._around = around
        self._term = claim.term
        self._state_events = claim.state.state_events if claim.state else 0
        self._detection = StreamDetection(stream_id, around, answering=claim.state.model if claim.state else None)
        self._memory = StreamMemory(
            parameters=around.tracker,
            lines=claim.spec.lines,
            zones=claim.spec.zones,
            epoch=claim.epoch,
        )
        self._intake = self._restored(claim)
        self._released_seq = self._intake.last_seq
        self._begun_s: dict[int, float] = {}
        self._metadata: dict[int, dict[str, str]] = {}
        self._told: dict[int, list[Told | Gap]] = {}
        self._preview = StreamPreview()
        self._answered_s: deque[float] = deque(maxlen=1024)
        self._age_s: float | None = None
        self._wanted = asyncio.Event()
        self._end: Summary | None = None
        self._is_told_out = False
        log = EventLog(stream_id, history=around.limits.history, events=claim.events, begin=claim.position)
        self.outlet = Outlet(
            stream_id,
            term=claim.term,
            store=around.store,
            log=log,
            state=self._snapshot,
            deliver=self._deliver,
            delivered=claim.state.delivered if claim.state else claim.position,
        )
        if claim.term > 1:
            self.tell_state("recovering", reason="owner_changed")
        self._source = None if self.spec.source is None else StreamSource(self, self.spec.source, around)
        self._tasks = [_spawn(self._work()), _spawn(self._run())]

    async def _run(self) -> None:
        """Save and tell; what is pulled is let go of as soon as somebody else pulls it."""
        try:
            await self.outlet.run()
        finally:
            if self._source is not None:
                await self._source.stop()

    @property
    def open_frames(self) -> int:
        """Captured frames that have no end yet."""
        return len(self._intake.open_seqs)

    @property
    def has_moved(self) -> bool:
        """Whether another replica owns the stream by now."""
        return self.outlet.has_moved

    @property
    def is_done(self) -> bool:
        """Whether the stream may be closed: its file is over, or nothing was pushed for a long time."""
        if self._source is not None:
            return self._source.is_over and not self._intake.open_seqs
        return time.monotonic() - self.touched_s > self._around.limits.idle_s

    def status(self) -> StreamStatus:
        """The stream as it stands."""
        now_s = time.monotonic()
        return StreamStatus(
            stream_id=self.stream_id,
            spec=self.spec,
            state=self.state,
            summary=self._end or self._intake.summary(),
            last_seq=self._intake.last_seq,
            window=self._around.limits.window(self.spec),
            fps=sum(now_s - at_s <= _RATE_S for at_s in self._answered_s) / _RATE_S,
            age_s=self._age_s,
        )

    def offer(self, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        """Capture frames, in this order. What was captured before is passed over.

        ConflictError when frame `after_seq` was never captured, or forgotten with the owner before: behind these, it
        and those before it would come too late.
        """
        self._check_here()
        if after_seq > self._intake.last_seq:
            raise ConflictError("frames before these are not known here; offer them again")
        self.touched_s = time.monotonic()
        for frame in frames:
            self._take(frame)
        return Offered(last_seq=self._intake.last_seq, window=self._around.limits.window(self.spec))

    async def push(self, frame: Offer) -> WireEvent:
        """Capture one frame and wait for its end; see StreamHost."""
        self._check_here()
        newest = self._intake.last_seq
        seq = newest + 1 if frame.seq is None else frame.seq
        if seq <= newest and not self.outlet.waits_for(seq):
            if (end := self.outlet.log.end_of(seq)) is not None:
                return end
            if seq not in self._intake.open_seqs:
                raise ConflictError(f"seq must grow from frame to frame; the newest is {newest}")
        waiter = self.outlet.end_of(seq)
        self.offer([replace(frame, seq=seq)])
        return await asyncio.shield(waiter)

    async def events(self, position: int, *, wait_s: float) -> EventBatch:
        """What was told since `position`."""
        events, position = await self.outlet.log.read(position, wait_s=0 if self._is_told_out else wait_s)
        if self.has_moved and not events:
            raise MovedError
        is_closed = self._is_told_out and self.outlet.log.is_read(position)
        return EventBatch(events=events, position=position, is_closed=is_closed)

    async def preview(self, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest frame after `after_seq`, drawn; None when none comes within `wait_s` seconds."""
        self._check_here()
        return await self._preview.picture(self.spec, after_seq=after_seq, wait_s=wait_s)

    async def respecify(self, spec: StreamSpec) -> None:
        """Go on under another spec. InvalidParameterError where it does not fit, nothing has changed then."""
        self._check_here()
        if spec.source != self.spec.source:
            raise ConflictError("the source of a stream cannot be changed; open another stream")
        self._around.check(spec)
        if (spec.lines, spec.zones) != (self.spec.lines, self.spec.zones):
            self._memory.respecify(lines=spec.lines, zones=spec.zones)
        await self._around.store.respecify(self.stream_id, term=self._term, spec=spec)
        if spec.video != self.spec.video:
            self._intake.reconfigure(**self._around.limits.intake(spec))
        is_pulled_otherwise = (spec.video, spec.reconnect) != (self.spec.video, self.spec.reconnect)
        self.spec = spec
        if self._source is not None and is_pulled_otherwise:
            await self._source.stop()
            self._source = StreamSource(self, self._source.url, self._around)
        self.outlet.touch()

    def tell_state(self, state: str, *, reason: str | None = None, attempt: int = 0) -> None:
        """The session stands elsewhere from now on."""
        self.state = state
        event = self._state_event(state, reason=reason, attempt=attempt)
        self.outlet.take([wire(event, after_seq=self._released_seq)])

    def _state_event(self, state: str, **what: Any) -> StateEvent:
        epoch, number = self._intake.epoch, self._state_events
        self._state_events += 1
        return StateEvent(
            stream_id=self.stream_id,
            epoch=epoch,
            event_id=f"{self.stream_id}:{epoch}:state:{number}",
            state=state,
            **what,
        )

    async def close(self, error: SightlineError) -> Summary:
        """End what is still open in `error`, then the readers; the final account. Twice is once."""
        if self._end is None:
            self._check_here()
            if self._source is not None:
                await self._source.stop()
            self._tasks[0].cancel()
            await asyncio.gather(self._tasks[0], return_exceptions=True)
            self._release(self._intake.close(error))
            self.state = "idle"
            self._end = self._intake.summary()
            self.outlet.take([wire(self._end, after_seq=self._released_seq)])
            await self.outlet.flush()
            self._is_told_out = True
            await self._around.store.remove(self.stream_id, term=self._term)
            self.outlet.log.wake()
            self._preview.close()
        await self.stop()
        return self._end

    async def stop(self) -> None:
        """Let go of the stream without closing it: its next owner goes on from what is saved."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _restored(self, claim: Claim) -> StreamIntake:
        state, epoch = claim.state, claim.epoch
        ledger, last_seq = Ledger(), -1
        if state is not None:
            ledger = Ledger(answered=state.answered, dropped=state.dropped, errors=state.errors)
            last_seq = state.last_seq
            try:
                self._memory.restore(state.tracker, state.counter)
            except SnapshotError:
                LOG.warning("the tracks of stream %s cannot be taken up; its epoch grows", self.stream_id)
                epoch = max(epoch, state.epoch) + 1
                self._memory.begin_epoch(epoch)
        options = self._around.limits.intake(claim.spec)
        return StreamIntake(self.stream_id, **options, ledger=ledger, last_seq=last_seq, epoch=epoch)

    def _snapshot(self) -> StreamState:
        account = self._end or self._intake.summary()
        tracker, counter = self._memory.snapshot()
        return StreamState(
            epoch=self._intake.epoch,
            last_seq=self._released_seq,
            answered=account.answered,
            dropped=account.dropped,
            errors=account.errors,
            tracker=tracker,
            counter=counter,
            state_events=self._state_events,
            model=self._detection.answering,
            delivered=self.outlet.delivered,
        )

    async def _deliver(self, events: Sequence[WireEvent]) -> None:
        if self.spec.sinks:
            await self._around.deliveries.put(self.stream_id, self.spec.sinks, events)

    def _check_here(self) -> None:
        if self.has_moved:
            raise MovedError
        if self._end is not None:
            raise NotFoundError("this stream is closed")

    def _take(self, frame: Offer) -> None:
        seq = self.next_seq if frame.seq is None else frame.seq
        if seq < self.next_seq:
            return
        stamp = time.time() if frame.captured_at is None else frame.captured_at
        ref = FrameRef(stream_id=self.stream_id, seq=seq, captured_at=stamp)
        encoded = EncodedFrame(data=frame.data, ref=ref, query=self.spec.video.query)
        if self.state != "streaming":
            self.tell_state("streaming")
        self.capture(encoded, dropped=frame.dropped, metadata=frame.metadata)

    @property
    def next_seq(self) -> int:
        """What a frame is called that has no number of its own."""
        return self._intake.last_seq + 1

    def capture(
        self,
        frame: EncodedFrame | Frame,
        *,
        dropped: DropReason | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """The frame exists from here on; with `dropped` it was lost on its way, and ends so."""
        newest, seq = self._intake.last_seq, frame.ref.seq
        if newest >= 0 and seq > newest + 1:
            self.tell_gap(newest, seq, reason="not_sent")
        if metadata:
            self._metadata[seq] = metadata
        self._begun_s[seq] = time.monotonic()
        self._release(self._intake.offer(frame, dropped=dropped))
        self._wanted.set()

    def tell_gap(self, after_seq: int, next_seq: int, *, reason: str) -> None:
        """Frames between the two, or an unknown number of them where the two are neighbours, are not told of."""
        epoch, told = self._intake.epoch, self._told.setdefault(next_seq, [])
        if told:  # one gap before a frame, whatever has made it wider
            return
        gap = Gap(
            stream_id=self.stream_id,
            epoch=epoch,
            event_id=f"{self.stream_id}:{epoch}:gap:{next_seq - 1}",
            after_seq=after_seq,
            next_seq=next_seq,
            reason=reason,
        )
        told.append(gap)

    async def _work(self) -> None:
        while True:
            self._wanted.clear()
            frames = self._intake.take()
            if not frames:
                await self._wanted.wait()
                continue
            try:
                ends = self._ends(await self._detection.detected(frames, self.spec))
            except Exception as error:  # noqa: BLE001  every frame of the batch ends in it
                self._release(self._intake.lose(typed(error)))
                continue
            self._preview.note(frames, ends, totals=self._memory.line_totals())
            self._release(self._intake.settle(ends))
            self._release(self._intake.lose(InternalError()))  # nothing, unless a stage broke its contract

    def _ends(self, outcomes: Sequence[Outcome[Detections]]) -> list[FrameResult]:
        """One result for each; no await in here, so that tracks and ends are saved together."""
        before = self._memory.snapshot()
        try:
            ends = [self._end_of(outcome) for outcome in outcomes if not isinstance(outcome, End)]
        except Exception:
            self._memory.restore(*before)
            raise
        for told, end in ends:
            self._told.setdefault(end.seq, []).extend(told)
        return [end for _, end in ends]

    def _end_of(self, outcome: Detections | Dropped | Failed) -> tuple[list[Told], FrameResult]:
        if isinstance(outcome, Failed):
            return [], failure(outcome.ref, outcome.error)
        total_s = time.monotonic() - self._begun_s.get(outcome.ref.seq, time.monotonic())
        if isinstance(outcome, Dropped):
            return [], result_of(outcome, spec=self._around.models.default, total_s=total_s)
        if not (np.isfinite(outcome.xyxy).all() and np.isfinite(outcome.score).all()):
            LOG.error("the model answered frame %d of %s with what is no number", outcome.ref.seq, self.stream_id)
            return [], failure(outcome.ref, InternalError())
        start_s = time.perf_counter()
        told = self._memory.update(outcome, spec=spec_on(outcome.route, self._around.models), total_s=total_s)
        self._around.metrics.observe(table.TRACKER_SECONDS, ("stream",), value=time.perf_counter() - start_s)
        return told

    def _release(self, ends: list[FrameResult]) -> None:
        events: list[WireEvent] = []
        for end in ends:
            self._begun_s.pop(end.seq, None)
            if self._detection.is_another(end):
                change = self._state_event(self.state, reason="model", model=end.model)
                events.append(wire(change, after_seq=self._released_seq))
            events += [wire(event) for event in self._told.pop(end.seq, [])]
            metadata = self._metadata.pop(end.seq, None)
            events.append(wire(replace(end, metadata=metadata) if metadata else end))
            note(end, self._around.metrics, kind="stream")
            self._released_seq = end.seq
            if end.status == "result":
                self._answered_s.append(time.monotonic())
                self._age_s = None if end.captured_at is None else time.time() - end.captured_at.timestamp()
        if events:
            self.outlet.take(events)


def _spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """In a context of its own: it outlives the request that opens the stream (facts/ray-serve.md, finding 1)."""
    return asyncio.create_task(work, context=contextvars.Context())
