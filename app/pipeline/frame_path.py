"""The whole path for a caller: one image to one result, one video to one result per frame and a summary."""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import random

from app.core.errors import InternalError, SightlineError, UnavailableError
from app.core.frame import Detections, EncodedFrame, FrameRef, Tracks
from app.core.ledger import Ledger
from app.core.metrics import SILENT, Metrics
from app.core.model import ModelSpec
from app.core.outcome import Dropped, End, Failed, Outcome
from app.core.query import Query
from app.core.result import FrameResult, Summary
from app.core.routing import Urgency
from app.core.video import VideoSpec
from app.pipeline.batcher import MicroBatcher
from app.pipeline.chain import Chain
from app.pipeline.frame_metrics import FrameKind, accounted, note
from app.pipeline.models import Models, spec_on
from app.pipeline.results import failure, in_epoch, result_of
from app.pipeline.streams import new_stream_id
from app.policy.batching import BatchLimits
from app.policy.route_table import Ask

LOG = logging.getLogger("sightline")
_PATIENCE_S = 30.0
"""How long a video waits for a tracker; a killed replica is replaced within 5 to 15 seconds."""
_RETRY_S = 0.25


class FramePath:
    """Stills are gathered into micro-batches; a video keeps `video_batches` of `video_batch` frames on the way."""

    def __init__(
        self,
        chain: Chain,
        *,
        models: Models,
        limits: BatchLimits,
        video_batch: int = 8,
        video_batches: int = 3,
        metrics: Metrics = SILENT,
        clock: Callable[[], float] = time.monotonic,
        context: Callable[[], contextvars.Context] = contextvars.Context,
    ) -> None:
        self.models = models
        self._metrics = metrics
        self._context = context
        self._chain = chain
        self._video_batch = video_batch
        self._video_batches = video_batches
        self._clock = clock
        self._stills = MicroBatcher(chain.detect, limits=limits, clock=clock, context=context)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def spec(self) -> ModelSpec:
        """What answers who asks for nothing in particular."""
        return self.models.default

    @property
    def waiting_stills(self) -> int:
        """Pictures that wait for a place in a batch."""
        return self._stills.depth

    async def detect(
        self,
        data: bytes | memoryview,
        *,
        ref: FrameRef,
        query: Query,
        ask: Ask | None = None,
        deadline_s: float | None = None,
        raw_size_px: tuple[int, int] | None = None,
        kind: FrameKind = "still",
    ) -> FrameResult:
        """The result of one image. Raises the SightlineError that it ended in; `deadline_s` is on the clock.

        Pictures of one `ref.stream_id` are parts of one request. With `raw_size_px` the data are RGB rows of that
        `(width_px, height_px)` instead of an encoded picture. What we send ourselves is a "probe", so that it is
        counted with nobody's.
        """
        with accounted(self._metrics, kind=kind):
            result = await self._result(
                data,
                ref=ref,
                query=query,
                ask=ask,
                deadline_s=deadline_s,
                raw_size_px=raw_size_px,
                request=None if kind == "probe" else ref.stream_id,
            )
        note(result, self._metrics, kind=kind)
        return result

    async def _result(
        self,
        data: bytes | memoryview,
        *,
        ref: FrameRef,
        query: Query,
        ask: Ask | None,
        deadline_s: float | None,
        raw_size_px: tuple[int, int] | None,
        request: str | None,
    ) -> FrameResult:
        start_s = self._clock()
        urgency = Urgency(due_at=None if deadline_s is None else time.time() + deadline_s - start_s)
        route = self.models.route(ask or _anybody())
        frame = EncodedFrame(data=data, ref=ref, query=query, route=route, urgency=urgency, raw_size_px=raw_size_px)
        outcome = await self._stills.submit(frame, deadline_s=deadline_s, request=request)
        if isinstance(outcome, Failed):
            raise outcome.error
        if not isinstance(outcome, Detections):
            raise InternalError
        return result_of(outcome, spec=spec_on(outcome.route, self.models), total_s=self._clock() - start_s)

    async def track_video(
        self, chunks: AsyncIterator[bytes], spec: VideoSpec, *, ask: Ask | None = None
    ) -> AsyncGenerator[list[FrameResult | Summary], None]:
        """One result per captured frame in order, in lists as they come, none empty; the summary is the last item.

        They come while the chunks still do; one version of the model answers all of them. Raises before the first list
        when not one frame can be had from the video. When the caller stops listening, everything that was opened for
        the video is closed.
        """
        video_id = new_stream_id()
        route = self.models.route(ask or _anybody())
        run = _VideoRun(
            self._chain,
            video_id,
            models=self.models,
            max_frames=self._video_batch,
            window=self._video_batches,
            context=self._context,
        )
        upload: asyncio.Task[None] | None = None
        try:
            await self._chain.open_video(video_id, spec, route=route)
            upload = asyncio.create_task(run.upload(chunks), context=contextvars.Context())
            async for items in run.results():
                for item in items:
                    if isinstance(item, FrameResult):
                        note(item, self._metrics, kind="video")
                yield items
        finally:
            # In a context of its own, and held: Ray cancels what a request calls after its client has left, and a task
            # group cancels each of our awaits anew.
            closing = asyncio.create_task(self._close(video_id, upload), context=contextvars.Context())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)

    async def _close(self, video_id: str, upload: asyncio.Task[None] | None) -> None:
        if upload is not None:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        await self._chain.close_video(video_id)


def _anybody() -> Ask:
    """A caller of whom nothing is known."""
    return Ask(draw=random())  # noqa: S311  a share of the traffic, no secret


class _VideoRun:
    """One video on its way: uploads on one side, batches in flight in the middle, ordered results on the other."""

    def __init__(
        self,
        chain: Chain,
        video_id: str,
        *,
        models: Models,
        max_frames: int,
        window: int,
        context: Callable[[], contextvars.Context],
    ) -> None:
        self._chain = chain
        self._video_id = video_id
        self._models = models
        self._max_frames = max_frames
        self._window = window
        self._context = context
        self._ledger = Ledger()
        self._end: End | None = None
        self._epoch = 0
        self._is_new = True  # the tracker has not yet been told of this epoch
        self._upload_error: SightlineError | None = None

    async def upload(self, chunks: AsyncIterator[bytes]) -> None:
        """Feed the decoder until the body ends. What breaks here ends the video with the frames that were there."""
        try:
            async for chunk in chunks:
                if chunk:
                    await self._chain.feed_video(self._video_id, chunk)
        except SightlineError as error:
            self._upload_error = error
        except Exception:
            LOG.exception("an upload failed")
            self._upload_error = InternalError()
        await self._chain.feed_video(self._video_id, b"")

    async def results(self) -> AsyncIterator[list[FrameResult | Summary]]:
        """The results batch by batch, then the summary."""
        flying: deque[tuple[int, float, asyncio.Task[list[Outcome[Detections]]]]] = deque()
        issued = 0
        try:
            while self._end is None:
                while len(flying) < self._window:
                    flying.append((issued, time.monotonic(), self._start(issued)))
                    issued += 1
                batch, start_s, task = flying.popleft()
                if finished := await self._finish(batch, task, start_s=start_s):
                    yield finished
        finally:
            for _, _, task in flying:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in flying), return_exceptions=True)
        error = self._upload_error or self._end.error
        if error is not None and self._ledger.is_empty:
            raise error
        reason, detail = (error.code, error.detail) if error else (None, None)
        yield [self._ledger.summary(stream_id=self._video_id, epoch=self._epoch, reason=reason, detail=detail)]

    def _start(self, batch: int) -> asyncio.Task[list[Outcome[Detections]]]:
        call = self._chain.detect_video(self._video_id, batch=batch, max_frames=self._max_frames)
        return asyncio.create_task(call, context=self._context())

    async def _finish(
        self, batch: int, task: asyncio.Task[list[Outcome[Detections]]], *, start_s: float
    ) -> list[FrameResult | Summary]:
        """The results of one batch, whatever became of it."""
        try:
            outcomes = await task
            if not outcomes:  # the batch that held the end was lost, and reading past it gives nothing
                self._end = End()
        except SightlineError as error:
            return await self._lost(batch, error)
        try:
            tracked = await self._track(outcomes)
        except SightlineError as error:
            return await self._lost(batch, error)
        total_s = time.monotonic() - start_s
        return [self._settle(outcome, total_s=total_s) for outcome in self._frames_of(tracked)]

    async def _track(self, outcomes: Sequence[Outcome[Detections]]) -> list[Outcome[Tracks]]:
        """The frames with identities. When the tracker is gone the next one begins an epoch with them."""
        give_up_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                moved = [in_epoch(outcome, self._epoch) for outcome in outcomes]
                tracked = await self._chain.track(self._video_id, moved, epoch=self._epoch, is_new=self._is_new)
            except SightlineError as error:
                self._epoch += 1  # no identity of the lost tracks may come again
                self._is_new = True
                if not isinstance(error, UnavailableError) or time.monotonic() > give_up_s:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                self._is_new = False
                return tracked

    def _frames_of(self, outcomes: Sequence[Outcome[Tracks]]) -> list[Tracks | Dropped | Failed]:
        frames: list[Tracks | Dropped | Failed] = []
        for outcome in outcomes:
            if isinstance(outcome, End):
                self._end = outcome
            else:
                frames.append(outcome)
        return frames

    async def _lost(self, batch: int, error: SightlineError) -> list[FrameResult | Summary]:
        """A batch that was lost as a whole: its frames end in the error; a lost decoder ends the video."""
        try:
            refs = await self._chain.video_refs(self._video_id, batch)
        except SightlineError as gone:
            self._end = End(error=gone)
            return []
        if not refs:
            self._end = End(error=error)
        failed = [Failed(ref=replace(ref, epoch=self._epoch), error=error) for ref in refs]
        return [self._settle(outcome, total_s=0.0) for outcome in failed]

    def _settle(self, outcome: Tracks | Dropped | Failed, *, total_s: float) -> FrameResult:
        self._ledger.capture(outcome.ref.seq)
        if isinstance(outcome, Failed):
            result = failure(outcome.ref, outcome.error)
        else:
            route = outcome.detections.route if isinstance(outcome, Tracks) else None
            result = result_of(outcome, spec=spec_on(route, self._models), total_s=total_s)
        self._ledger.settle(result)
        return result
