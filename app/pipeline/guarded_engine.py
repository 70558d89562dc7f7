"""The engines of the ladder behind one: it answers from the best that works, and says when that is not the first."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.core.errors import DeviceLostError, DeviceMemoryError, OverloadedError, SightlineError, UnavailableError
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput
from app.pipeline.engine_slot import EngineSlot, Opening, Pictures
from app.policy.breaker import BreakerParameters, BreakerState
from app.policy.ladder import (
    AT_FULL_SIZE,
    GPU_RUNGS,
    RELIEFS,
    Degradation,
    EngineFailed,
    LadderParameters,
    LoadSeen,
    Probed,
    Relief,
    Rung,
    better,
    degradations,
    start,
    transition,
    words,
)
from app.vision.example import example_picture

LOG = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """The rows of one batch; `degraded` says what was given up for them and why, None at full quality."""

    rows: RawOutput
    degraded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardParameters:
    """`cpu_places` batches may run at once on the CPU while it stands in for the GPU."""

    cpu_places: int = 1
    ladder: LadderParameters = field(default_factory=LadderParameters)
    breaker: BreakerParameters = field(default_factory=BreakerParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """What is to be seen of a guarded engine, for metrics and status pages."""

    rung: Rung
    degradations: tuple[Degradation, ...]
    is_broken: bool
    load_failures: int
    breakers: Mapping[Rung, BreakerState]


class GuardedEngine:
    """Engines of one model, best first. Whoever holds it calls `look` a few times a second and `probe` every 2 s or so.

    A batch that one engine cannot answer goes to the next at once, so that no frame is lost with an engine. When the
    GPU is lost to this process (`is_broken`), the CPU answers until another process takes over: nothing is reset here.
    """

    def __init__(
        self,
        openings: Sequence[Opening],
        *,
        smaller: ModelSpec | None = None,
        parameters: GuardParameters | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the best engine that can be; the last one's SightlineError when none can.

        `smaller` is the model on the smaller canvas that every one of the engines takes besides its own, None where
        they take no other. `on_close` is called when all is given back.
        """
        self.smaller = smaller
        self._parameters = parameters or GuardParameters()
        self._clock = clock
        self._on_close = on_close
        self._slots = {
            opening.rung: EngineSlot(opening, clock=clock, parameters=self._parameters.breaker) for opening in openings
        }
        reliefs = AT_FULL_SIZE if smaller is None else RELIEFS
        self._ladder = start(tuple(self._slots), reliefs=reliefs, parameters=self._parameters.ladder)
        self._lock = threading.Lock()
        self._cpu = threading.BoundedSemaphore(self._parameters.cpu_places)
        self._is_lost = False
        self._open_best()
        self._example = example_picture(width_px=self.spec.input_width_px, height_px=self.spec.input_height_px)

    def _open_best(self) -> None:
        """Open the best engine that can be, and the CPU's, because the GPU may be lost in any moment.

        To open an engine only then would hold up the frames in hand.
        """
        tried: list[Rung] = []
        while (rung := self._next_rung(tried)) is not None:
            tried.append(rung)
            try:
                self._engine, self._opened = self._slots[rung].engine(), rung
            except SightlineError as error:
                self._failed(rung, error, is_load=True)
                if self._next_rung(tried) is None:
                    raise
                continue
            break
        if (spare := self._slots.get(Rung.ONNX_CPU)) is not None:
            try:
                spare.engine()
            except SightlineError as error:
                self._failed(Rung.ONNX_CPU, error, is_load=True)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._engine.spec

    @property
    def streams(self) -> int:
        """How many calls at a time are useful: the engine's streams, or the few that the CPU takes as a stand-in."""
        is_spare = self._opened is Rung.ONNX_CPU and self._ladder.engines[0] in GPU_RUNGS
        return self._parameters.cpu_places if is_spare else self._engine.streams

    @property
    def relief(self) -> Relief:
        """What is asked of those in front of the engine: smaller pictures, fewer frames, none of low priority."""
        return self._ladder.reliefs[self._ladder.relief]

    @property
    def is_broken(self) -> bool:
        """Whether only another process can go on: the GPU is lost to this one, or the answering engine at its end."""
        return self._is_lost or self._slots[self._ladder.engine].is_broken

    @property
    def degraded(self) -> str | None:
        """What an operator is told of the answers that it gives now, None while nothing is given up."""
        breaker = self._slots[self._ladder.engine].breaker
        found = [words(degradations(self._ladder))]
        if breaker is not BreakerState.CLOSED:
            found.append(f"too many calls to {self._ladder.engine} failed: its breaker is {breaker}")
        return "; ".join(filter(None, found)) or None

    def state(self) -> GuardState:
        """Where it stands."""
        return GuardState(
            rung=self._ladder.engine,
            degradations=degradations(self._ladder),
            is_broken=self.is_broken,
            load_failures=sum(slot.load_failures for slot in self._slots.values()),
            breakers={rung: slot.breaker for rung, slot in self._slots.items()},
        )

    def check_health(self) -> None:
        """Raise DeviceLostError when this process must end; that is not repaired here."""
        if self.is_broken:
            raise DeviceLostError

    def infer(self, pixels: Pictures, *, relief: Relief | None = None) -> Inference:
        """The rows of the best engine that answers.

        `relief` is what was asked of those who made these pictures, as it stood then; None is what is asked now.
        OverloadedError when the CPU stands in and is full, a ModelError for pictures of a wrong shape, otherwise the
        last engine's error.
        """
        relief = relief or self.relief
        tried: list[Rung] = []
        failure: SightlineError | None = None
        while (rung := self._next_rung(tried)) is not None:
            tried.append(rung)
            slot = self._slots[rung]
            try:
                slot.engine()
            except SightlineError as error:
                failure = error
                self._failed(rung, error, is_load=True)
                continue
            try:
                rows = self._run(slot, pixels)
            except UnavailableError as error:
                failure = error
                self._failed(rung, error, is_load=False)
                continue
            return Inference(rows=rows, degraded=self._words(rung, failure, relief))
        raise failure or UnavailableError

    def look(self, *, queue_age_s: float, missed: int = 0, cpu_load: float = 0.0, vram_ratio: float = 0.0) -> None:
        """Take a look at the load: the age of the oldest frame that waits, the CPU's load, the share of VRAM in use.

        `missed` deadlines passed since the look before.
        """
        with self._lock:
            now_s = self._clock()
            self._move(
                LoadSeen(now_s=now_s, queue_age_s=queue_age_s, missed=missed, cpu_load=cpu_load, vram_ratio=vram_ratio)
            )

    def probe(self) -> None:
        """Try the engines above the one that answers on an example, best first, until one of them is good."""
        for rung in better(self._ladder):
            if self._is_lost and rung in GPU_RUNGS:
                continue  # an answer of a lost context would prove nothing
            slot = self._slots[rung]
            if slot.is_resting:
                continue
            try:
                slot.engine()
            except SightlineError as error:
                self._failed(rung, error, is_load=True)
                continue
            try:
                rows = slot.infer([self._example])
            except SightlineError as error:
                self._failed(rung, error, is_load=False)
                continue
            is_good = len(rows) == 1 and bool(np.isfinite(rows).all())
            with self._lock:
                self._move(Probed(rung=rung, is_good=is_good))
            if is_good:
                return

    def close(self) -> None:
        """Give the memory of every engine back; no call may follow."""
        for slot in self._slots.values():
            slot.close()
        self._on_close()

    def _next_rung(self, tried: list[Rung]) -> Rung | None:
        ladder = self._ladder
        below = ladder.engines[ladder.engines.index(ladder.engine) :]
        return next((rung for rung in below if rung not in tried), None)

    def _run(self, slot: EngineSlot, pixels: Pictures) -> RawOutput:
        if slot.rung is self._ladder.engines[0] or slot.rung in GPU_RUNGS:
            return slot.infer(pixels)
        if not self._cpu.acquire(blocking=False):
            raise OverloadedError("the CPU stands in for the GPU and is busy")
        try:
            return slot.infer(pixels)
        finally:
            self._cpu.release()

    def _failed(self, rung: Rung, error: SightlineError, *, is_load: bool) -> None:
        """Note what went wrong: the ladder moves unless it was a single call, which the breaker counts."""
        is_memory, is_lost = isinstance(error, DeviceMemoryError), isinstance(error, DeviceLostError)
        is_single = not (is_load or is_memory or is_lost) and self._slots[rung].breaker is BreakerState.CLOSED
        # Too little memory to load one engine may be enough for another; too little for one picture is not. And where
        # the device itself refuses to load one, it refuses all.
        is_gpu_lost = is_lost or (isinstance(error, UnavailableError) and is_memory is not is_load and not is_single)
        with self._lock:
            self._is_lost = self._is_lost or is_lost
            if not is_single:
                LOG.warning("the engine %s failed: %s", rung, error.detail)
                self._move(EngineFailed(rung=rung, reason=error.detail, is_gpu_lost=is_gpu_lost))

    def _move(self, event: EngineFailed | Probed | LoadSeen) -> None:
        before = degradations(self._ladder)
        self._ladder = transition(self._ladder, event, parameters=self._parameters.ladder)
        if (after := degradations(self._ladder)) != before:
            LOG.warning("answers are %s now", words(after) or "at full quality")

    def _words(self, rung: Rung, failure: SightlineError | None, relief: Relief) -> str | None:
        """What an answer says: its engine, and what its pictures went through, wherever the ladder is by now.

        `failure` is what this very batch met above, None when the ladder stood here already.
        """
        ladder, found = self._ladder, []
        if position := ladder.engines.index(rung):
            reason = ladder.failures[position - 1] if failure is None else failure.detail
            found.append(Degradation(rung=rung, reason=reason))
        if relief.rung is not None:
            found.append(Degradation(rung=relief.rung, reason=ladder.relief_reason))
        return words(tuple(found))


def guarded(engine: Engine, *, parameters: GuardParameters | None = None) -> GuardedEngine:
    """The one engine that there is, behind its breaker."""
    return GuardedEngine([Opening(rung=Rung.ONNX_CPU, open=lambda: engine)], parameters=parameters)
