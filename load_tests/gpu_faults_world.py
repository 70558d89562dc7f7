"""The world of scenario `gpu-faults`: one replica on a fake GPU, its supervisor and its callers, in virtual time.

Real are the guarded engine, its ladder and breakers, the fake device, the planted faults and every row of every answer.
Modelled are the seconds: those of kernels and copies by the device's calibration, those of a new process by RESTART_S.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SightlineError
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput
from app.core.routing import MAX_PRIORITY
from app.pipeline.engine_slot import Opening
from app.pipeline.fault_inbox import FaultInbox
from app.pipeline.guarded_engine import GuardedEngine
from app.policy.fault_plan import Fault, Trigger, row_of
from app.policy.ladder import RELIEFS, Relief, Rung
from app.vision.example import example_picture
from engines.fake_gpu import Calibration, FakeEngineParameters, FakeGpu, FakeGpuEngine
from engines.pcie import PcieLink
from engines.reference import ReferenceEngine
from load_tests.gpu_faults_record import CellRecord, End, Poll, Readable, Tick

RESTART_S: Final = 14.0
"""From the death of the only replica to the first answer of its successor. Source: facts/reliability.md §0, row 10."""
HEALTH_S, LOOK_S, PROBE_S, READY_S = 1.0, 0.25, 2.0, 0.5
STRIKE_S, FAULT_S, LOAD_FAULT_S, CONTROL_S, TAIL_S = 10.0, 15.0, 20.0, 240.0, 25.0
"""A fault is planted at 10 s; one that strikes loads stays longer, because the load comes after a restart. Without a
fault it goes on for minutes, since the worst of the usual shows seldom."""
MAX_BATCH, MAX_WAITING, PATIENCE_S = 8, 64, 1.0
SIDE_PX: Final = 640
TENSORRT = Calibration(seconds_per_image=0.004, seconds_per_call=0.006)
ONNX_CUDA = Calibration(seconds_per_image=0.006, seconds_per_call=0.008)
ONNX_CPU = Calibration(seconds_per_image=0.025, seconds_per_call=0.002)
"""Of the order of a YOLOv8n at 640 px: TensorRT and ONNX Runtime on a small GPU, ONNX Runtime on two cores."""


def capacity_per_s() -> float:
    """Pictures a second that the first engine can answer in full batches, copies included."""
    copies_s = MAX_BATCH * SIDE_PX * SIDE_PX * 3 / PcieLink().bytes_per_s
    return MAX_BATCH / (TENSORRT.duration_s(MAX_BATCH) + copies_s)


class VirtualTime:
    """Seconds that pass when somebody sleeps; what is due meanwhile happens at its own time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def __call__(self) -> float:
        """The time now."""
        return self.now_s

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        """Let it happen then."""
        heapq.heappush(self._due, (when_s, next(self._order), what))

    def every(self, period_s: float, what: Callable[[], None]) -> None:
        """Let it happen again and again."""

        def once() -> None:
            what()
            self.at(self.now_s + period_s, once)

        self.at(self.now_s + period_s, once)

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, what = heapq.heappop(self._due)
            what()
        self.now_s = end_s

    def wait(self) -> None:
        """Sleep until the next thing is due."""
        self.sleep(max(self._due[0][0] - self.now_s, 0.0))


class Album:
    """Eight pictures at two sizes, and the rows that the reference engine finds in each, computed once."""

    def __init__(self) -> None:
        self.pixels: dict[float, list[NDArray[np.uint8]]] = {}
        self.engines: dict[float, Remembered] = {}
        for ratio in sorted({relief.input_ratio for relief in RELIEFS}, reverse=True):
            side_px = round(SIDE_PX * ratio)
            example = example_picture(width_px=side_px, height_px=side_px)
            self.pixels[ratio] = [np.roll(example, index * side_px // 8, axis=1) for index in range(8)]
            self.engines[ratio] = Remembered(ReferenceEngine(width_px=side_px, height_px=side_px), self.pixels[ratio])


class Remembered:
    """An engine that knows a few pictures by heart: the real rows, at no cost. Others it looks at."""

    def __init__(self, engine: Engine, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.spec: ModelSpec = engine.spec
        self.streams = engine.streams
        self.rows = {id(one): row for one, row in zip(pictures, engine.infer(pictures), strict=True)}
        self._engine = engine

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """The real engine's rows."""
        if not all(id(one) in self.rows for one in pixels):
            return self._engine.infer(pixels)
        return np.stack([self.rows[id(one)] for one in pixels])

    def close(self) -> None:
        """Nothing is held."""


class Witness:
    """An engine that notes which one answered, for the checker, which does not ask the guard."""

    def __init__(self, engine: Engine, rung: Rung, notes: list[Rung]) -> None:
        self._engine, self._rung, self._notes = engine, rung, notes
        self.spec, self.streams = engine.spec, engine.streams

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """The rows of the engine."""
        rows = self._engine.infer(pixels)
        self._notes.append(self._rung)
        return rows

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class CpuEngine:
    """The reference engine with the time that a network takes on the CPU. `busy_s` counts it."""

    def __init__(self, answers: dict[float, Remembered], virtual: VirtualTime) -> None:
        self._answers = {one.spec.input_height_px: one for one in answers.values()}
        self._virtual = virtual
        self.spec = answers[1.0].spec
        self.streams = 1
        self.busy_s = 0.0

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """The rows, later."""
        side_px = len(pixels[0])
        duration_s = ONNX_CPU.duration_s(len(pixels) * (side_px / SIDE_PX) ** 2)
        self._virtual.sleep(duration_s)
        self.busy_s += duration_s
        return self._answers[side_px].infer(pixels)

    def close(self) -> None:
        """Nothing is held."""


class Replica:
    """One process: its view of the device, its engines, and who answered last."""

    def __init__(self, album: Album, inbox: FaultInbox, virtual: VirtualTime) -> None:
        self.gpu = FakeGpu(inbox=inbox, clock=virtual, sleep=virtual.sleep)
        self.notes: list[Rung] = []
        self.cpu = CpuEngine(album.engines, virtual)
        answers = list(album.engines.values())

        def on_gpu(rung: Rung, calibration: Calibration) -> Callable[[], Engine]:
            parameters = FakeEngineParameters(calibration=calibration, is_plan=rung is Rung.TENSORRT)
            return lambda: Witness(FakeGpuEngine(self.gpu, answers, parameters=parameters), rung, self.notes)

        openings = (
            Opening(rung=Rung.TENSORRT, open=on_gpu(Rung.TENSORRT, TENSORRT)),
            Opening(rung=Rung.ONNX_CUDA, open=on_gpu(Rung.ONNX_CUDA, ONNX_CUDA)),
            Opening(rung=Rung.ONNX_CPU, open=lambda: Witness(self.cpu, Rung.ONNX_CPU, self.notes)),
        )
        self.guard = GuardedEngine(openings, smaller=answers[-1].spec, clock=virtual)

    @property
    def is_able(self) -> bool:
        """Whether the device answers this process, asked of the device and not of the guard."""
        return not self.gpu.is_broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One frame that waits: who sent it, when, and under which relief it came in."""

    seq: int
    priority: int
    captured_s: float
    relief: Relief


@dataclass(slots=True, kw_only=True)
class Sabotage:
    """Faults of the service for the checker to find."""

    hides_flag: bool = False
    lies_ready: bool = False
    forgets_on_exit: bool = False


class Service:
    """The way in, with its queue and its log of results, and the replica behind it, under one load and one fault."""

    def __init__(self, album: Album, *, load: float, fault: Fault | None, sabotage: Sabotage | None = None) -> None:
        self.virtual = VirtualTime()
        self.record = CellRecord(load=load, kind="none" if fault is None else row_of(fault).kind)
        self._album = album
        self._inbox = FaultInbox(clock=self.virtual)
        self._replica: Replica | None = Replica(album, self._inbox, self.virtual)
        self._waiting: deque[Caller] = deque()
        self._duties: deque[Callable[[Replica], None]] = deque()
        self._sabotage = sabotage or Sabotage()
        self._random = random.Random(11)
        self._rate = load * capacity_per_s()
        self._fault = fault
        self._cpu_seen = (0.0, 0.0)

    def run(self) -> CellRecord:
        """Everything that happened."""
        is_load_fault = self._fault is not None and row_of(self._fault).trigger is Trigger.LOAD
        for_s = CONTROL_S if self._fault is None else LOAD_FAULT_S if is_load_fault else FAULT_S
        end_s = STRIKE_S + for_s
        self.record.strike_s, self.record.fault_end_s = STRIKE_S, end_s
        self.virtual.at(STRIKE_S, lambda: self._plant(is_load_fault=is_load_fault, for_s=for_s))
        self.virtual.at(0.0, self._arrive)
        self.virtual.every(HEALTH_S, self._check_health)
        self.virtual.every(LOOK_S, self._look)
        self.virtual.every(PROBE_S, lambda: self._duties.append(lambda replica: replica.guard.probe()))
        self.virtual.every(
            READY_S, lambda: self._duties.append(self._poll_ready) if self._replica else self._not_there()
        )
        while self.virtual.now_s < end_s + TAIL_S:
            if self._replica is not None and self._duties:
                self._duties.popleft()(self._replica)
            elif self._replica is not None and self._waiting:
                self._serve(self._replica)
            else:
                self.virtual.wait()
        for caller in self._waiting:
            self._end(caller, "error", "closing")
        return self.record

    def _plant(self, *, is_load_fault: bool, for_s: float) -> None:
        if self._fault is not None:
            self._inbox.put(self._fault, expires_s=for_s)
        if is_load_fault:
            self._exit()  # a rolling restart meets the fault

    def _arrive(self) -> None:
        seq, priority = self.record.captured, self._random.choice((1, 3, 5, 5, 7, MAX_PRIORITY))
        self.record.captured += 1
        relief = RELIEFS[0] if self._replica is None else self._replica.guard.relief
        caller = Caller(seq=seq, priority=priority, captured_s=self.virtual.now_s, relief=relief)
        if not relief.serves(priority=priority, seq=seq):
            self._end(caller, "dropped", str(relief.rung))
        else:
            self._waiting.append(caller)
        if len(self._waiting) > MAX_WAITING:
            victim = min(self._waiting, key=lambda one: (one.priority, one.seq))
            self._waiting.remove(victim)
            self._end(victim, "dropped", "overloaded")
        self.virtual.at(self.virtual.now_s + self._random.expovariate(self._rate), self._arrive)

    def _serve(self, replica: Replica) -> None:
        batch: list[Caller] = []
        while self._waiting and len(batch) < MAX_BATCH:
            caller = self._waiting[0]
            if batch and caller.relief.input_ratio != batch[0].relief.input_ratio:
                break  # one size a batch
            self._waiting.popleft()
            if self.virtual.now_s - caller.captured_s > PATIENCE_S:
                self._end(caller, "error", "deadline_exceeded")
            else:
                batch.append(caller)
        if not batch:
            return
        relief = max((caller.relief for caller in batch), key=RELIEFS.index)
        pictures = self._album.pixels[relief.input_ratio]
        try:
            answer = replica.guard.infer([pictures[caller.seq % 8] for caller in batch], relief=relief)
        except SightlineError as error:
            for caller in batch:
                self._end(caller, "error", error.code)
            return
        if self._replica is not replica:  # it died with these in hand: the way in still has them
            self._waiting.extendleft(reversed(batch))
            return
        expected = self._album.engines[relief.input_ratio].rows
        for caller, rows in zip(batch, answer.rows, strict=True):
            is_right = np.array_equal(rows, expected[id(pictures[caller.seq % 8])])
            self.record.readable[caller.seq] = Readable(
                is_right=is_right,
                engine=replica.notes[-1],
                relief=relief.rung,
                degraded=None if self._sabotage.hides_flag else answer.degraded,
            )
            self._end(caller, "result", answer.degraded or "")
            self.record.acknowledged.append(caller.seq)

    def _end(self, caller: Caller, kind: str, reason: str) -> None:
        self.record.ends.append(End(seq=caller.seq, at_s=self.virtual.now_s, kind=kind, reason=reason))

    def _check_health(self) -> None:
        if self._replica is None or self._sabotage.lies_ready:
            return
        try:
            self._replica.guard.check_health()
        except SightlineError:
            self._exit()

    def _exit(self) -> None:
        """The process ends, and another one is started."""
        self._replica = None
        if self._sabotage.forgets_on_exit:
            self.record.readable.clear()

        def started() -> None:
            self._replica = Replica(self._album, self._inbox, self.virtual)
            self.record.restarts.append(self.virtual.now_s)

        self.virtual.at(self.virtual.now_s + RESTART_S, started)

    def _poll_ready(self, replica: Replica) -> None:
        """The golden picture through the user's path."""
        pictures = self._album.pixels[1.0]
        try:
            rows = replica.guard.infer(pictures[:1], relief=RELIEFS[0]).rows
            is_golden = np.array_equal(rows[0], self._album.engines[1.0].rows[id(pictures[0])])
            if not self._sabotage.lies_ready:
                replica.guard.check_health()
        except SightlineError:
            is_golden = False
        is_able = self._replica is replica and replica.is_able
        self.record.polls.append(Poll(at_s=self.virtual.now_s, said_ready=is_golden, is_able=is_able))

    def _not_there(self) -> None:
        self.record.polls.append(Poll(at_s=self.virtual.now_s, said_ready=False, is_able=False))

    def _look(self) -> None:
        replica, now_s = self._replica, self.virtual.now_s
        age_s = now_s - self._waiting[0].captured_s if self._waiting else 0.0
        if replica is not None:
            seen_s, busy_s = self._cpu_seen
            self._cpu_seen = (now_s, replica.cpu.busy_s)
            cpu_load = min(max(replica.cpu.busy_s - busy_s, 0.0) / (now_s - seen_s), 1.0)
            replica.guard.look(queue_age_s=age_s, cpu_load=cpu_load, vram_ratio=replica.gpu.memory_ratio)
        state = None if replica is None else replica.guard.state()
        self.record.ticks.append(
            Tick(
                at_s=now_s,
                is_up=state is not None and not state.is_broken,
                engine=None if state is None else state.rung,
                relief=0 if replica is None else RELIEFS.index(replica.guard.relief),
                queue_age_s=age_s,
            )
        )
