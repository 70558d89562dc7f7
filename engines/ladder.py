"""Every way to run one version of a model, best first, behind one engine; each model in a process of its own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.pipeline.engine_slot import Opening
from app.pipeline.fault_inbox import FaultInbox
from app.pipeline.guarded_engine import GuardedEngine
from app.policy.ladder import Rung
from engines.fake_gpu import Calibration, FakeEngineParameters, FakeGpu, FakeGpuEngine
from engines.hosted import HostedEngine, HostLimits, open_hosted_engine

EngineKind: TypeAlias = Literal["auto", "reference", "onnxruntime", "openvino", "tensorrt", "fake-gpu"]
_CALIBRATION: Final = Calibration(seconds_per_image=0.002, seconds_per_call=0.006)
"""Of the order of a small YOLO on a GPU; assumed, not measured. What it answers takes the CPU's time besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLadder:
    """How versions are opened in this process. Faults that are planted in `inbox` strike the fake GPU."""

    kind: EngineKind = "auto"
    streams: int | None = None
    max_batch: int = 8
    limits: HostLimits = field(default_factory=HostLimits)
    inbox: FaultInbox = field(default_factory=FaultInbox)

    def open(self, model: Path | None) -> HostedEngine | GuardedEngine:
        """Return a warm engine; ModelError when there is none. Blocks meanwhile."""
        if self.kind != "fake-gpu":
            return self._hosted(model)
        on_cpu = self._hosted(model)

        def on_gpu() -> FakeGpuEngine:
            return FakeGpuEngine(gpu, [on_cpu], parameters=FakeEngineParameters(calibration=_CALIBRATION))

        gpu = FakeGpu(inbox=self.inbox)
        return GuardedEngine(
            [Opening(rung=Rung.TENSORRT, open=on_gpu), Opening(rung=Rung.ONNX_CPU, open=lambda: on_cpu)]
        )

    def _hosted(self, model: Path | None) -> HostedEngine:
        kind = "auto" if self.kind == "fake-gpu" else self.kind
        return open_hosted_engine(model, limits=self.limits, kind=kind, streams=self.streams, max_batch=self.max_batch)
