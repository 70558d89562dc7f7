"""Every way to run one version of a model, best first, behind one engine; each model in a process of its own."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.core.errors import ModelError
from app.core.ports import Engine
from app.pipeline.engine_slot import Opening
from app.pipeline.fault_inbox import FaultInbox
from app.pipeline.guarded_engine import GuardedEngine
from app.policy.ladder import Rung
from engines.cuda.bindings import cuda_available
from engines.fake_gpu import Calibration, FakeEngineParameters, FakeGpu, FakeGpuEngine
from engines.hosted import HostedEngine, HostLimits, open_hosted_engine
from engines.opening import Kind, open_engine

EngineKind: TypeAlias = Kind | Literal["fake-gpu"]
_ON_THIS_MACHINE: Final[tuple[tuple[Rung, Kind], ...]] = (
    (Rung.TENSORRT, "tensorrt"),
    (Rung.ONNX_CUDA, "onnxruntime-cuda"),
    (Rung.ONNX_CPU, "cpu"),
)
_CALIBRATION: Final = Calibration(seconds_per_image=0.002, seconds_per_call=0.006)
"""Of the order of a small YOLO on a GPU; assumed, not measured. What it answers takes the CPU's time besides."""
_TIMED: Final[dict[str, Kind]] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLadder:
    """How versions are opened in this process. Faults that are planted in `inbox` strike the fake GPU."""

    kind: EngineKind = "auto"
    streams: int | None = None
    max_batch: int = 8
    limits: HostLimits = field(default_factory=HostLimits)
    inbox: FaultInbox = field(default_factory=FaultInbox)
    _proven: list[Kind] = field(default_factory=list, init=False, repr=False)
    """The runtime that was the fastest for the model before: to time them all again would take the cores from it."""

    def open(self, model: Path | None, *, sha256: str | None = None) -> HostedEngine | GuardedEngine:
        """Return a warm engine; ModelError when there is none, or the file is not that of `sha256`. Blocks meanwhile.

        Where there is a GPU, each way to use it is tried, and the CPU at last. On the CPU there is one way.
        """
        if self.kind == "fake-gpu":
            return self._on_fake_gpu(self._hosted(model, "cpu", sha256))
        if self.kind != "auto" or model is None or not cuda_available():
            return self._hosted(model, self.kind, sha256)
        return GuardedEngine(
            [Opening(rung=rung, open=partial(self._hosted, model, kind, sha256)) for rung, kind in _ON_THIS_MACHINE]
        )

    def open_here(self, model: Path | None) -> Engine | GuardedEngine:
        """Return the same in this very process where there is one way: its memory stays, and a crash is everybody's.

        For whoever has all stages in one process: 12 % more images/s on two cores (`load_tests.image_efficiency`).
        """
        if self.kind == "fake-gpu" or (self.kind == "auto" and cuda_available()):
            return self.open(model)
        return open_engine(model, kind=self.kind, streams=self.streams, max_batch=self.max_batch)

    def _on_fake_gpu(self, on_cpu: HostedEngine) -> GuardedEngine:
        gpu = FakeGpu(inbox=self.inbox)
        parameters = FakeEngineParameters(calibration=_CALIBRATION)
        return GuardedEngine(
            [
                Opening(rung=Rung.TENSORRT, open=lambda: FakeGpuEngine(gpu, [on_cpu], parameters=parameters)),
                Opening(rung=Rung.ONNX_CPU, open=lambda: on_cpu),
            ]
        )

    def _hosted(self, model: Path | None, kind: Kind, sha256: str | None) -> HostedEngine:
        if kind in {"auto", "cpu"} and self._proven:
            with suppress(ModelError):  # another model may need another runtime
                return self._opened(model, self._proven[0], sha256)
        engine = self._opened(model, kind, sha256)
        if engine.runtime in _TIMED:
            self._proven[:] = [_TIMED[engine.runtime]]
        return engine

    def _opened(self, model: Path | None, kind: Kind, sha256: str | None) -> HostedEngine:
        return open_hosted_engine(
            model, limits=self.limits, kind=kind, streams=self.streams, max_batch=self.max_batch, sha256=sha256
        )
