"""The shapes of all values of an ONNX graph: inferred where ONNX can, measured by running the graph where it cannot."""

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto, helper

from app.core.errors import ModelError
from engines import telemetry

telemetry.switch_off()

import onnxruntime as ort  # noqa: E402

_PROBES = ((1, 1), (3, 2))
"""Batch, and factor of the free sides. What differs between the two is free; what a value costs is of the first."""
_Sizes: TypeAlias = dict[str, tuple[int, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One value of the graph. `shape` is of one picture; a size that may vary has True in `is_free`."""

    name: str
    element_type: int
    shape: tuple[int, ...]
    is_free: tuple[bool, ...]

    @property
    def bytes(self) -> int:
        """The size for one picture."""
        return prod(self.shape) * helper.tensor_dtype_to_np_dtype(self.element_type).itemsize

    def declaration(self) -> ValueInfoProto:
        """Return it as an input or output of a part; the first of the sizes is the batch where it is free."""
        free: list[str | None] = ["batch", *[None] * len(self.shape)]
        sizes = [name if is_free else size for name, size, is_free in zip(free, self.shape, self.is_free, strict=False)]
        return helper.make_tensor_value_info(self.name, self.element_type, sizes)


def tensors_of(model: ModelProto, *, size_px: int) -> dict[str, Tensor]:
    """Return every tensor, by name; `size_px` stands for the sides that the graph leaves free.

    Values that are no tensors are left out. ModelError where the sizes contradict each other or the graph cannot run.
    """
    first, second = (_sizes(_fixed(model, batch=batch, size_px=size_px * factor)) for batch, factor in _PROBES)
    tensors = {
        name: Tensor(name=name, element_type=element_type, shape=shape, is_free=_differences(shape, second[name][1]))
        for name, (element_type, shape) in first.items()
        if name in second and len(second[name][1]) == len(shape)
    }
    for weight in model.graph.initializer:
        fixed = (False,) * len(weight.dims)
        shape = tuple(weight.dims)
        tensors[weight.name] = Tensor(name=weight.name, element_type=weight.data_type, shape=shape, is_free=fixed)
    return tensors


def _differences(shape: tuple[int, ...], other: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(size != elsewhere for size, elsewhere in zip(shape, other, strict=True))


def _fixed(model: ModelProto, *, batch: int, size_px: int) -> ModelProto:
    """Return a copy whose inputs have these sizes where they were free, and that declares nothing else."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_value <= 0:
                size.dim_value = size_px if place else batch
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed


def _sizes(model: ModelProto) -> _Sizes:
    """Return element type and shape of every tensor of a model whose inputs are fixed."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:
        raise ModelError("the sizes in this model contradict each other") from error
    values = [*graph.input, *graph.value_info, *graph.output]
    tensors = {value.name: value for value in values if value.type.HasField("tensor_type")}
    unknown = [value for value in tensors.values() if not _is_known(value)]
    measured = _measured(model, unknown) if unknown else {}
    return {
        name: (
            value.type.tensor_type.elem_type,
            measured.get(name) or tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
        )
        for name, value in tensors.items()
    }


def _is_known(value: ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and all(size.WhichOneof("value") == "dim_value" for size in kind.shape.dim)


def _measured(model: ModelProto, unknown: list[ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of these values, by running the graph on zeros."""
    names = [value.name for value in unknown]
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None) for value in unknown
    )
    stored = {weight.name for weight in model.graph.initializer}
    zeros = {
        value.name: np.zeros(
            [size.dim_value for size in value.type.tensor_type.shape.dim],
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in model.graph.input
        if value.name not in stored
    }
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        arrays = session.run(names, zeros)
    except Exception as error:
        raise ModelError("this model cannot be run to measure it") from error
    return {name: tuple(array.shape) for name, array in zip(names, arrays, strict=True)}
