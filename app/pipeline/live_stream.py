"""One live stream at work: frames come in at any rate, one batch at a time goes the way, ends go out in order."""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import takewhile

from app.core.errors import ConflictError, InternalError, NotFoundError, SightlineError, UnavailableError
from app.core.frame import Detections, EncodedFrame, FrameRef, Tracks
from app.core.model import ModelSpec
from app.core.outcome import Dropped, End, Failed
from app.core.result import FrameResult, Gap, Summary
from app.core.video import FrameMode, StreamSpec
from app.pipeline.chain import Chain
from app.pipeline.intake import StreamIntake
from app.pipeline.results import failure, result_of

LOG = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """`depth` frames of one stream may wait and `batch` be worked on; its last `history` results can be read again.

    A batch that takes longer than `batch_s` seconds to detect, or to track, ends in an error, whatever becomes of it.
    At most `max_streams` are open; one that gets no frame for `idle_s` seconds is closed.
    """

    depth: int = 16
    latest_depth: int = 3
    batch: int = 8
    batch_s: float = 30.0
    history: int = 1024
    max_streams: int = 256
    idle_s: float = 300.0


class LiveStream:
    """A stream between its sender and its readers. All calls happen on one event loop."""

    def __init__(
        self, stream_id: str, spec: StreamSpec, *, chain: Chain, model: ModelSpec, limits: StreamLimits
    ) -> None:
        self.spec = spec
        self.touched_s = time.monotonic()
        self._chain = chain
        self._model = model
        self._limits = limits
        video = spec.video
        depth = limits.latest_depth if video.mode is FrameMode.LATEST_FRAME else limits.depth
        self._intake = StreamIntake(
            stream_id, mode=video.mode, fps=video.fps, depth=depth, max_taken=min(limits.batch, depth)
        )
        self._begun_s: dict[int, float] = {}
        self._waiters: dict[int, asyncio.Future[FrameResult]] = {}
        self._history: deque[FrameResult] = deque(maxlen=limits.history)
        self._forgotten_seq = -1
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._is_closed = False
        self._is_new_epoch = True  # the tracker has not yet been told of this one
        # In a context of its own: it outlives the request that opens the stream (facts/ray-serve.md, finding 1).
        self._worker = asyncio.create_task(self._work(), context=contextvars.Context())

    @property
    def stream_id(self) -> str:
        """The stream's name, made by the server."""
        return self._intake.stream_id

    def summary(self) -> Summary:
        """The account as it stands."""
        return self._intake.summary()

    async def push(self, data: bytes, *, seq: int | None, captured_at: float | None) -> FrameResult:
        """The end of one frame; `seq` None counts on from the newest, `captured_at` is UTC in seconds.

        A frame that was sent before gets the end that it had. ConflictError when `seq` lies before the newest and was
        never captured, or its end is no longer remembered; NotFoundError when the stream is closed.
        """
        if self._is_closed:
            raise NotFoundError("this stream is closed")
        self.touched_s = time.monotonic()
        newest = self._intake.last_seq
        seq = newest + 1 if seq is None else seq
        if seq <= newest:
            return await self._again(seq, newest=newest)
        stamp = time.time() if captured_at is None else captured_at
        ref = FrameRef(stream_id=self.stream_id, seq=seq, captured_at=stamp)
        end = self._waiters[seq] = asyncio.get_running_loop().create_future()
        self._begun_s[seq] = time.monotonic()
        self._publish(self._intake.offer(EncodedFrame(data=data, ref=ref, query=self.spec.video.query)))
        self._wanted.set()
        return await asyncio.shield(end)

    async def _again(self, seq: int, *, newest: int) -> FrameResult:
        if (waiting := self._waiters.get(seq)) is not None:
            return await asyncio.shield(waiting)
        for end in self._history:
            if end.seq == seq:
                return end
        raise ConflictError(f"seq must grow from frame to frame; the newest is {newest}")

    async def events(self, *, since: int) -> AsyncIterator[list[FrameResult | Gap | Summary]]:
        """What ended after frame `since` (-1: all that is remembered), then live; the summary when the stream closes.

        A reader that falls behind the history gets a Gap and goes on from what is there: it holds nobody up.
        """
        while True:
            changed = self._changed
            items = list(takewhile(lambda end: end.seq > since, reversed(self._history)))[::-1]  # noqa: B023  used here
            if items:
                gap = [self._gap(since, items[0])] if since < self._forgotten_seq else []
                since = items[-1].seq
                yield [*gap, *items]
            elif self._is_closed:
                yield [self.summary()]
                return
            else:
                await changed.wait()

    def _gap(self, since: int, first: FrameResult) -> Gap:
        return Gap(
            stream_id=self.stream_id,
            epoch=first.epoch,
            event_id=f"{self.stream_id}:{first.epoch}:gap:{first.seq - 1}",
            after_seq=since,
            next_seq=first.seq,
            reason="history",
        )

    async def close(self, error: SightlineError) -> None:
        """End what is still open in `error`, then the readers; twice is once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._publish(self._intake.close(error))
        self._notify()
        await self._chain.close_video(self.stream_id)

    async def _work(self) -> None:
        while True:
            self._wanted.clear()
            frames = self._intake.take()
            if not frames:
                await self._wanted.wait()
                continue
            try:
                async with asyncio.timeout(self._limits.batch_s):
                    outcomes = await self._chain.detect(frames)
            except Exception as error:  # noqa: BLE001  every frame of the batch ends in it
                self._publish(self._intake.lose(_typed(error)))
                continue
            try:
                async with asyncio.timeout(self._limits.batch_s):
                    tracked = await self._chain.track(
                        self.stream_id, outcomes, epoch=self._intake.epoch, is_new=self._is_new_epoch
                    )
            except Exception as error:  # noqa: BLE001  every frame of the batch ends in it
                # The tracks are lost, or may be: no identity of theirs may come again.
                self._publish(self._intake.begin_epoch(_typed(error)))
                self._is_new_epoch = True
                continue
            self._is_new_epoch = False
            ends = [self._end_of(outcome) for outcome in tracked if not isinstance(outcome, End)]
            self._publish(self._intake.settle(ends))
            self._publish(self._intake.lose(InternalError()))  # nothing, unless a stage broke its contract

    def _end_of(self, outcome: Tracks | Detections | Dropped | Failed) -> FrameResult:
        if isinstance(outcome, Failed):
            return failure(outcome.ref, outcome.error)
        total_s = time.monotonic() - self._begun_s.get(outcome.ref.seq, time.monotonic())
        return result_of(outcome, spec=self._model, total_s=total_s)

    def _publish(self, ends: list[FrameResult]) -> None:
        for end in ends:
            self._begun_s.pop(end.seq, None)
            if len(self._history) == self._history.maxlen:
                self._forgotten_seq = self._history[0].seq
            self._history.append(end)
            waiter = self._waiters.pop(end.seq, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(end)
        if ends:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _typed(error: Exception) -> SightlineError:
    """What a frame ends in when its batch did not come back."""
    if isinstance(error, SightlineError):
        return error
    if isinstance(error, TimeoutError):
        return UnavailableError("a part of the service did not answer in time")
    LOG.error("a live stream's batch failed", exc_info=error)
    return InternalError()
