"""Every way to run one version of a model, best first, behind one engine; each model in a process of its own."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.core.errors import ModelError
from app.core.gpu import GpuMeter
from app.core.model import ModelSpec
from app.core.ports import Engine
from app.pipeline.engine_slot import Opening
from app.pipeline.fault_inbox import FaultInbox
from app.pipeline.guarded_engine import GuardedEngine, GuardParameters
from app.policy.ladder import Rung
from app.policy.vram_ledger import VramNeed
from engines.cuda.bindings import cuda_available
from engines.fake_gpu import Calibration, FakeEngineParameters, FakeGpu, FakeGpuEngine
from engines.hosted import HostedEngine, HostLimits, open_hosted_engine
from engines.nvml import open_meter
from engines.opening import Kind, open_engine, read_spec
from engines.two_sizes import TwoSizes
from engines.vram import VramAccount, estimated_need

LOG = logging.getLogger("sightline")
EngineKind: TypeAlias = Kind | Literal["fake-gpu"]
_ON_THIS_MACHINE: Final[tuple[tuple[Rung, Kind], ...]] = (
    (Rung.TENSORRT, "tensorrt"),
    (Rung.ONNX_CUDA, "onnxruntime-cuda"),
    (Rung.ONNX_CPU, "cpu"),
)
_PLAN: Final = FakeEngineParameters(calibration=Calibration(seconds_per_image=0.002, seconds_per_call=0.006))
_GRAPH: Final = FakeEngineParameters(
    calibration=Calibration(seconds_per_image=0.003, seconds_per_call=0.008), is_plan=False
)
"""Of the order of a small YOLO on a GPU, with TensorRT and without; assumed, not measured. What it answers takes the
CPU's time besides."""
_TIMED: Final[dict[str, Kind]] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
_HOST, _SMALLER_HOST = "engines.host", "engines.smaller"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What engines are wanted.

    With `has_smaller` a model is opened on a smaller canvas besides, where its file allows that: once the machine is
    overloaded it is too late for it. `vram_bytes` of a GPU's memory are for models, None for all that is free.
    """

    kind: EngineKind = "auto"
    streams: int | None = None
    max_batch: int = 8
    has_smaller: bool = False
    vram_bytes: int | None = None


class EngineLadder:
    """How versions are opened in this process. Faults that are planted in `inbox` strike its fake GPU."""

    def __init__(
        self,
        options: EngineOptions,
        *,
        guard: GuardParameters | None = None,
        limits: HostLimits | None = None,
        inbox: FaultInbox | None = None,
    ) -> None:
        self.inbox = inbox or FaultInbox()
        self.gpu = FakeGpu(inbox=self.inbox)
        self._options = options
        self._guard = guard
        self._limits = limits or HostLimits()
        self._proven: list[Kind] = []
        """The runtime that was the fastest for the model before: timing them all again would take the cores from it."""
        self._meter: GpuMeter | None = (
            self.gpu if options.kind == "fake-gpu" else open_meter() if self._has_gpu else None
        )
        self._vram = self._account()

    @property
    def _has_gpu(self) -> bool:
        return self._options.kind == "auto" and cuda_available()

    def open(self, model: Path | None, *, sha256: str | None = None, patience_s: float = 0.0) -> GuardedEngine:
        """Return a warm engine; ModelError when there is none, or the file is not that of `sha256`. Blocks meanwhile.

        Where there is a GPU, each way to use it is tried, and the CPU at last; DeviceMemoryError when too little of its
        memory is left. On the CPU there is one way, which loads in the background for so long at most.
        """
        release = self._promised(model)
        try:
            if self._options.kind == "fake-gpu":
                sizes = self._on_cpu(model, "cpu", sha256, patience_s)
                return self._on_fake_gpu(sizes, on_close=release)
            if model is not None and self._has_gpu:
                return self._on_gpu(model, sha256, on_close=release)
            return self._alone(self._on_cpu(model, self._options.kind, sha256, patience_s))
        except BaseException:
            release()
            raise

    def open_here(self, model: Path | None) -> GuardedEngine:
        """Return the same in this very process where there is one way: its memory stays, and a crash is everybody's.

        For whoever has all stages in one process: 12 % more images/s on two cores (`load_tests.image_efficiency`).
        """
        wanted = self._options
        if wanted.kind == "fake-gpu" or (model is not None and self._has_gpu):
            return self.open(model)
        opened = partial(open_engine, model, kind=wanted.kind, streams=wanted.streams, max_batch=wanted.max_batch)
        return self._alone(self._with_smaller(opened(), partial(opened, is_smaller=True)))

    def meter(self) -> GpuMeter | None:
        """What reads this process's GPU; None where there is none, or no way to see it."""
        return self._meter

    def _account(self) -> VramAccount | None:
        """Over what is free before anything of ours is there, or may be taken of it; None where neither is known."""
        reading = None if self._meter is None else self._meter.read()
        known = [] if reading is None else [reading.vram_total_bytes - reading.vram_used_bytes]
        if self._options.vram_bytes is not None and (self._has_gpu or self._options.kind == "fake-gpu"):
            known.append(self._options.vram_bytes)
        return VramAccount(min(known)) if known else None

    def _promised(self, model: Path | None) -> Callable[[], None]:
        """Have the memory promised that the model will need, and return what gives it back."""
        if self._vram is None:
            return lambda: None
        most = self._options.max_batch
        if self._options.kind == "fake-gpu":
            activations_bytes = most * _PLAN.activations_bytes_per_image
            name = "reference" if model is None else model.parent.parent.name
            need = VramNeed(model=name, weights_bytes=_PLAN.weights_bytes, activations_bytes=(activations_bytes,))
        else:
            file_bytes = 0 if model is None else model.stat().st_size
            need = estimated_need(read_spec(model), file_bytes=file_bytes, max_batch=most)
        return self._vram.promise(need)

    def _alone(self, sizes: list[Engine]) -> GuardedEngine:
        engine = _as_one(sizes)
        opening = Opening(rung=Rung.ONNX_CPU, open=lambda: engine)
        return GuardedEngine([opening], smaller=_smaller_of(sizes), parameters=self._guard)

    def _on_gpu(self, model: Path, sha256: str | None, *, on_close: Callable[[], None]) -> GuardedEngine:
        openings = [
            Opening(rung=rung, open=partial(self._hosted, model, kind, sha256, self._limits))
            for rung, kind in _ON_THIS_MACHINE
        ]
        return GuardedEngine(openings, parameters=self._guard, on_close=on_close)

    def _on_fake_gpu(self, sizes: list[Engine], *, on_close: Callable[[], None]) -> GuardedEngine:
        on_cpu = _as_one(sizes)
        return GuardedEngine(
            [
                Opening(rung=Rung.TENSORRT, open=lambda: FakeGpuEngine(self.gpu, sizes, parameters=_PLAN)),
                Opening(rung=Rung.ONNX_CUDA, open=lambda: FakeGpuEngine(self.gpu, sizes, parameters=_GRAPH)),
                Opening(rung=Rung.ONNX_CPU, open=lambda: on_cpu),
            ],
            smaller=_smaller_of(sizes),
            parameters=self._guard,
            on_close=on_close,
        )

    def _on_cpu(self, model: Path | None, kind: Kind, sha256: str | None, patience_s: float) -> list[Engine]:
        limits = replace(self._limits, patience_s=patience_s)
        full = self._hosted(model, kind, sha256, limits)
        smaller_kind = _TIMED.get(full.runtime, kind)
        return self._with_smaller(full, lambda: self._opened(model, smaller_kind, sha256, limits, _SMALLER_HOST))

    def _with_smaller(self, full: Engine, open_smaller: Callable[[], Engine]) -> list[Engine]:
        """The engine, and after it that of the smaller canvas, where one is wanted and can be."""
        if not self._options.has_smaller:
            return [full]
        try:
            return [full, open_smaller()]
        except ModelError as error:
            LOG.info("%s %s has no smaller input: %s", full.spec.name, full.spec.version, error.detail)
            return [full]
        except BaseException:
            full.close()
            raise

    def _hosted(self, model: Path | None, kind: Kind, sha256: str | None, limits: HostLimits) -> HostedEngine:
        if kind in {"auto", "cpu"} and self._proven:
            with suppress(ModelError):  # another model may need another runtime
                return self._opened(model, self._proven[0], sha256, limits)
        engine = self._opened(model, kind, sha256, limits)
        if engine.runtime in _TIMED:
            self._proven[:] = [_TIMED[engine.runtime]]
        return engine

    def _opened(
        self, model: Path | None, kind: Kind, sha256: str | None, limits: HostLimits, module: str = _HOST
    ) -> HostedEngine:
        wanted = self._options
        return open_hosted_engine(
            model,
            limits=limits,
            module=module,
            kind=kind,
            streams=wanted.streams,
            max_batch=wanted.max_batch,
            sha256=sha256,
        )


def _as_one(sizes: list[Engine]) -> Engine:
    return sizes[0] if len(sizes) == 1 else TwoSizes(*sizes)


def _smaller_of(sizes: list[Engine]) -> ModelSpec | None:
    return None if len(sizes) == 1 else sizes[1].spec
