"""What tests of the TensorRT engine share: a simulated GPU and library, a small model, and its plan."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.model import Head
from engines.cuda.bindings import Bindings
from engines.cuda.device import Device
from engines.model_file import ModelFile, read_model_file
from engines.tensorrt_build import BuildOptions, BuiltPlan, build_plan, target_of
from engines.tensorrt_engine import TensorRtEngine
from engines.tiny_yolo import tiny_yolo
from tests import fake_pycuda, fake_tensorrt
from tests.fake_pycuda import SimulatedGraphs


@dataclass
class Bench:
    """A machine with a simulated GPU and a model of 64 px with a free batch."""

    file: ModelFile
    bindings: Bindings
    gpu: fake_pycuda._Gpu
    trt: fake_tensorrt._Library
    graphs: SimulatedGraphs

    def build(self, options: BuildOptions | None = None, **more: Any) -> BuiltPlan:
        device = Device(self.bindings)
        try:
            return device.call(
                lambda: build_plan(
                    more.pop("file", self.file),
                    bindings=self.bindings,
                    target=target_of(self.bindings),
                    options=options or BuildOptions(),
                    **more,
                )
            )
        finally:
            device.close(lambda: None)

    def engine(self, plan: bytes | None = None, **more: Any) -> TensorRtEngine:
        return TensorRtEngine(self.file, plan or self.build().data, bindings=self.bindings, **more)

    def left_over(self) -> dict[str, int]:
        """What is not given back: empty after everything was closed."""
        if self._counts():
            gc.collect()  # what only refers to itself is no leak
        return self._counts()

    def _counts(self) -> dict[str, int]:
        counts = {
            "device memory": len(self.gpu.blocks),
            "pinned memory": len(self.gpu.pinned),
            "contexts": self.gpu.contexts,
            "graphs": len(self.graphs.graphs) + len(self.graphs.executables),
            "TensorRT objects": len(self.trt.live),
        }
        return {name: count for name, count in counts.items() if count}


def make_bench(folder: Path, *, n_labels: int = 3) -> Bench:
    graphs = SimulatedGraphs()
    gpu, trt = fake_pycuda.plug_in(), fake_tensorrt.install()
    path = folder / "model.onnx"
    path.write_bytes(tiny_yolo(Head.YOLOV8, n_labels=n_labels).SerializeToString())
    bindings = Bindings(trt=fake_tensorrt, cuda=fake_pycuda, graphs=graphs, is_available=lambda: gpu.is_there)
    return Bench(file=read_model_file(path), bindings=bindings, gpu=gpu, trt=trt, graphs=graphs)


def canvases(*values: int, side_px: int = 64) -> list[np.ndarray]:
    return [np.full((side_px, side_px, 3), value, np.uint8) for value in values]
