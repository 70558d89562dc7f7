"""One loaded version of a model: its engine, and the queue that decides whose picture is next."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import numpy as np

from app.core.errors import InternalError, ModelError, SightlineError
from app.core.frame import Detections, EncodedFrame, Frame, ModelInput, Pixels
from app.core.metrics import SILENT, Metrics
from app.core.model import ModelSpec
from app.core.outcome import Dropped, Failed, Outcome
from app.core.ports import Engine
from app.pipeline.easing import Eased, Easing
from app.pipeline.engine_queue import Caller, EngineQueue, QueueLimits
from app.pipeline.guarded_engine import GuardedEngine, GuardParameters, Inference, guarded
from app.pipeline.serving_metrics import ServingMetrics
from app.policy.batch_policy import BatchPolicy, Bucket
from app.policy.deadline_batching import DeadlineParameters, DeadlinePolicy
from app.policy.ladder import LadderParameters, Relief
from app.policy.rule_batching import FormulaRule, RulePolicy, StateMachineRule
from app.vision.postprocess import Thresholds, detections
from app.vision.shrink import shrunk

A = TypeVar("A")
F = TypeVar("F", EncodedFrame, Frame, ModelInput)
_NOTHING: Final = Inference(rows=np.empty((0, 0), np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingParameters:
    """`policy` cuts batches of at most `max_batch` images; the door closes at `max_waiting`.

    An answer without a deadline of its own is due after `slo_s` seconds; one that took over `slow_s` counts against a
    new version. With `degrade` an engine that is overloaded is spared (`Easing`).
    """

    policy: Literal["deadline", "formula-001", "state-machine-001"] = "deadline"
    max_batch: int = 8
    slo_s: float = 0.25
    slow_s: float = 0.180
    max_waiting: int = 1024
    degrade: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def guard(self) -> GuardParameters:
        """When an engine under these parameters is overloaded."""
        return GuardParameters(ladder=LadderParameters(slo_s=self.slo_s))


Prepare: TypeAlias = Callable[[A], Outcome[ModelInput]]
"""Makes a frame ready for the engine, on the thread that then feeds it."""


@dataclass(frozen=True, slots=True)
class _Job(Generic[A]):
    item: A
    prepare: Prepare[A]
    relief: Relief


class Serving:
    """Detects on one engine. With several streams (a CPU) each frame goes alone to the next free one.

    No core then waits for the slowest part of a batch. With one stream (a GPU) batches go whole.
    """

    def __init__(
        self, engine: Engine | GuardedEngine, *, parameters: ServingParameters, metrics: Metrics = SILENT
    ) -> None:
        self.engine = engine if isinstance(engine, GuardedEngine) else guarded(engine, parameters=parameters.guard)
        self._parameters = parameters
        self._told = ServingMetrics(metrics, engine.spec)
        self._open = 0
        lanes = engine.streams
        self._queue: EngineQueue[_Job[Any], Outcome[Detections]] = EngineQueue(
            self._work,
            policy=_policy(parameters, lanes=lanes),
            lanes=lanes,
            limits=QueueLimits(max_images=parameters.max_waiting, slo_s=parameters.slo_s),
        )
        self.easing = Easing(self.engine, self._queue, is_on=parameters.degrade)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.engine.spec

    @property
    def streams(self) -> int:
        """How many batches are worked on at a time."""
        return self.engine.streams

    @property
    def in_flight(self) -> int:
        """Frames that are in it now."""
        return self._open

    @property
    def waiting_images(self) -> int:
        """Canvases that wait for the engine now."""
        return self._queue.waiting_images

    async def detect(self, items: Sequence[F], *, prepare: Prepare[F]) -> list[Outcome[Detections]]:
        """One outcome for each, in order. They come to the queue together, so that a batch may take them together."""
        self._open += len(items)
        try:
            with self._queue.together():
                offered = [self._offered(item, prepare) for item in items]
            return list(
                await asyncio.gather(*(self._answer(item, one) for item, one in zip(items, offered, strict=True)))
            )
        finally:
            self._open -= len(items)

    def _offered(self, item: F, prepare: Prepare[F]) -> Caller[_Job[Any], Outcome[Detections]] | Dropped | Failed:
        eased = self.easing.eased(item)
        if not isinstance(eased, Eased):
            return eased
        images = 1 if item.query.tile == 1 else 1 + item.query.tile**2
        urgency, bucket = eased.urgency, self._bucket(images, eased.relief)
        try:
            job = _Job(item, prepare, eased.relief)
            return self._queue.offer(job, images=images, stream_id=urgency.share, urgency=urgency, bucket=bucket)
        except SightlineError as error:
            return Failed(ref=item.ref, error=error)

    async def _answer(
        self, item: F, offered: Caller[_Job[Any], Outcome[Detections]] | Dropped | Failed
    ) -> Outcome[Detections]:
        if isinstance(offered, Dropped | Failed):
            return offered
        try:
            served = await self._queue.answer(offered)
        except SightlineError as error:
            return Failed(ref=item.ref, error=error)
        except Exception:  # noqa: BLE001  the queue has written it down
            return Failed(ref=item.ref, error=InternalError())
        found = served.result
        if not isinstance(found, Detections):
            return found
        self._told.waited(served.queue_s)
        return replace(found, timings=replace(found.timings, queue_s=served.queue_s))

    def _seen_as(self, relief: Relief) -> ModelSpec:
        """The model on the canvas that this relief leaves."""
        return self.spec if self.engine.smaller is None or relief.input_ratio == 1.0 else self.engine.smaller

    def _bucket(self, images: int, relief: Relief) -> Bucket:
        """A picture with its tiles is a batch of its own: the engine takes it in portions."""
        spec, most = self._seen_as(relief), self._parameters.max_batch
        width_px, height_px = spec.input_width_px, spec.input_height_px
        kind = relief.rung or ""  # what one batch has given up, its answers say alike
        if images > 1:
            return Bucket(width_px=width_px, height_px=height_px, max_batch=images, profile=f"tiles {kind}")
        return Bucket(width_px=width_px, height_px=height_px, max_batch=most, profile=kind)

    def _work(self, jobs: Sequence[_Job[Any]]) -> list[Outcome[Detections]]:
        """The outcomes of one batch; raises what the engine raises, for the queue to find out whose fault it is."""
        relief = jobs[0].relief
        spec = self._seen_as(relief)
        prepared = [self._sized(job.prepare(job.item), spec) for job in jobs]
        canvases = [canvas for item in prepared if isinstance(item, ModelInput) for canvas in item.canvases]
        start_s = time.perf_counter()
        inference = self._inferred(canvases, relief, n_frames=len(jobs)) if canvases else _NOTHING
        inferred_s = time.perf_counter()
        outcomes: list[Outcome[Detections]] = []
        row = 0
        for item in prepared:
            if not isinstance(item, ModelInput):
                outcomes.append(item)
                continue
            rows = inference.rows[row : row + len(item.canvases)]
            row += len(item.canvases)
            found = detections(rows, item, spec, thresholds=self._parameters.thresholds)
            timings = replace(
                item.timings,
                inference_s=inferred_s - start_s,
                postprocess_s=time.perf_counter() - inferred_s,
            )
            outcomes.append(replace(found, degraded=inference.degraded, timings=timings))
        if canvases:
            n_found = sum(isinstance(outcome, Detections) for outcome in outcomes)
            self._told.found(n_found, spent_s=time.perf_counter() - inferred_s)
        return outcomes

    def _inferred(self, canvases: Sequence[Pixels], relief: Relief, *, n_frames: int) -> Inference:
        start_s = time.perf_counter()
        try:
            inference = self.engine.infer(canvases, relief=relief)
        except ModelError:
            if n_frames == 1:  # of more it is not known yet whose fault it is
                self._told.refused(canvases)
            raise
        self._told.inferred(canvases, spent_s=time.perf_counter() - start_s)
        return inference

    def _sized(self, item: Outcome[ModelInput], spec: ModelSpec) -> Outcome[ModelInput]:
        if spec is self.spec or not isinstance(item, ModelInput):
            return item
        return shrunk(item, width_px=spec.input_width_px, height_px=spec.input_height_px)

    def close(self) -> None:
        """Finish what runs, end what waits, and give the engine's memory back."""
        self.easing.close()
        self._queue.close()
        self.engine.close()


def _policy(parameters: ServingParameters, *, lanes: int) -> BatchPolicy:
    if parameters.policy == "formula-001":
        return RulePolicy(FormulaRule())
    if parameters.policy == "state-machine-001":
        return RulePolicy(StateMachineRule())
    return DeadlinePolicy(DeadlineParameters(lanes=lanes, max_items=1 if lanes > 1 else None))
