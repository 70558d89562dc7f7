"""One deserialised plan: its engine, and what goes in and out of it."""

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from app.core.errors import ModelError, UnavailableError
from engines.profiles import BatchShape, Profile
from engines.tensorrt_log import TensorRtLog

if TYPE_CHECKING:
    import tensorrt as trt

_COLOURS = 3


@dataclass(slots=True, kw_only=True)
class LoadedPlan:
    """`takes_bytes`: the input is `(B, H, W, 3)` uint8, otherwise scaled planes `(B, 3, H, W)` float32.

    `output_type` is float32 or float16. The engine goes when the plan is released, not with the last
    reference, which an error that somebody keeps may hold in another thread.
    """

    loaded: "trt.ICudaEngine | None"
    log: TensorRtLog
    input_name: str
    output_name: str
    takes_bytes: bool
    output_type: type[np.float32 | np.float16]
    profiles: tuple[Profile, ...]

    @property
    def engine(self) -> "trt.ICudaEngine":
        """The engine; UnavailableError once the plan was released."""
        if self.loaded is None:
            raise UnavailableError("the engine is closed")
        return self.loaded

    def release(self) -> None:
        """Let the engine go. On the GPU's thread."""
        self.loaded = None

    def input_shape(self, shape: BatchShape) -> tuple[int, int, int, int]:
        """Return the input's dimensions for so many canvases."""
        if self.takes_bytes:
            return shape.batch, shape.height_px, shape.width_px, _COLOURS
        return shape.batch, _COLOURS, shape.height_px, shape.width_px

    def input_bytes(self, shape: BatchShape) -> int:
        """Return the input's size."""
        return shape.pixels * _COLOURS * (1 if self.takes_bytes else np.dtype(np.float32).itemsize)


def load_plan(runtime: "trt.Runtime", plan: bytes, *, module: ModuleType, log: TensorRtLog) -> LoadedPlan:
    """Return the plan opened; a ModelError says what TensorRT, or we, cannot take about it."""
    log.clear()
    engine: trt.ICudaEngine = log.made(runtime.deserialize_cuda_engine(plan), "engine of this plan")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"a plan has one input and one output; this one has {len(inputs)} and {len(outputs)}")
    takes_bytes = engine.get_tensor_dtype(inputs[0]) == module.DataType.UINT8
    if not takes_bytes and engine.get_tensor_dtype(inputs[0]) != module.DataType.FLOAT:
        raise ModelError("this plan takes neither bytes nor float32")
    types: dict[trt.DataType, type[np.float32 | np.float16]] = {
        module.DataType.FLOAT: np.float32,
        module.DataType.HALF: np.float16,
    }
    output_type = types.get(engine.get_tensor_dtype(outputs[0]))
    if output_type is None:
        raise ModelError("this plan gives neither float32 nor float16")
    profiles = [
        _profile(engine.get_tensor_profile_shape(inputs[0], index), takes_bytes=takes_bytes)
        for index in range(engine.num_optimization_profiles)
    ]
    return LoadedPlan(
        loaded=engine,
        log=log,
        input_name=inputs[0],
        output_name=outputs[0],
        takes_bytes=takes_bytes,
        output_type=output_type,
        profiles=tuple(profiles),
    )


def _profile(shapes: "list[trt.Dims]", *, takes_bytes: bool) -> Profile:
    """Return the input's smallest, best and largest shape."""
    smallest, best, largest = (_shape(tuple(shape), takes_bytes=takes_bytes) for shape in shapes)
    return Profile(smallest=smallest, best=best, largest=largest)


def _shape(dims: tuple[int, ...], *, takes_bytes: bool) -> BatchShape:
    if len(dims) != 4 or dims[3 if takes_bytes else 1] != _COLOURS:  # noqa: PLR2004
        raise ModelError(f"this plan takes {dims}, which are no pictures")
    batch, height_px, width_px = (dims[0], dims[1], dims[2]) if takes_bytes else (dims[0], dims[2], dims[3])
    return BatchShape(batch=batch, height_px=height_px, width_px=width_px)
