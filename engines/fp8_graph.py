"""A model whose convolutions compute in FP8 (E4M3) between explicit Q and DQ nodes, as TensorRT takes it from Ada on.

Scales are the largest value seen divided by the largest that E4M3 has, one for each tensor: rounding is relative there,
so that small values lose nothing by a large neighbour. Needs `onnx`. Source: ONNX, QuantizeLinear 19; OCP, 8-bit
floating point, 5.1 (448, no infinity); NVIDIA ModelOpt's default for FP8 (maximum, by tensor).
"""

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from app.core.errors import ModelError
from app.core.frame import Pixels
from engines import telemetry
from engines.model_file import ModelFile
from engines.quantized_graph import described_as, head_convolutions, name_nodes, network_input

telemetry.switch_off()

import onnxruntime as ort  # noqa: E402

E4M3_MAX = 448.0
_OPSET, _IR = 19, 9
"""The first that have float8. Source: onnx/docs/Versioning.md."""


def to_fp8(file: ModelFile, pictures: Iterable[Pixels]) -> onnx.ModelProto:
    """Return the model with FP8 convolutions, the head's output convolutions and every bias float.

    The pictures `(h, w, 3)` RGB go through the letterbox and the scaling that serve. ModelError where there are none,
    where something in the network is not finite, or where no convolution has its weights in the file.
    """
    model = _at_opset(onnx.load_from_string(file.data))
    name_nodes(model.graph)
    weights = {weight.name: weight for weight in model.graph.initializer}
    kept = set(head_convolutions(model.graph))
    chosen = [node for node in model.graph.node if node.op_type == "Conv" and node.name not in kept]
    chosen = [node for node in chosen if node.input[1] in weights]
    if not chosen:
        raise ModelError("this model has no convolutions that could be quantised")
    largest = _largest_values(model, file, {node.input[0] for node in chosen}, pictures)
    pairs: dict[str, str] = {}
    for node in chosen:
        source, weight = node.input[0], weights[node.input[1]]
        if source not in pairs:
            pairs[source] = _add_pair(model.graph, source, largest[source])
        if weight.name not in pairs:
            pairs[weight.name] = _stored(model.graph, weight)
        node.input[0], node.input[1] = pairs[source], pairs[weight.name]
    _drop_unused(model.graph, weights)
    _sort(model.graph)
    return described_as(model, file)


def _at_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an operator set that has float8; ModelError where it cannot be lifted there."""
    if max(each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}) < _OPSET:
        try:
            model = version_converter.convert_version(model, _OPSET)
        except RuntimeError as error:
            raise ModelError(f"this model cannot be lifted to operator set {_OPSET}, which has FP8") from error
    model.ir_version = max(model.ir_version, _IR)
    return model


def _largest_values(
    model: onnx.ModelProto, file: ModelFile, names: set[str], pictures: Iterable[Pixels]
) -> dict[str, float]:
    """Return the largest magnitude that each of the tensors has over all pictures."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inner = sorted(names - {file.input_name})
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner]
    watched.graph.output.extend(outputs)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(names, -1.0)
    for picture in pictures:
        fed = np.repeat(network_input(picture, file.spec), file.static_batch or 1, axis=0)
        seen = dict(zip(inner, session.run(inner, {file.input_name: fed}), strict=True)) | {file.input_name: fed}
        largest = {name: float(np.maximum(value, np.abs(seen[name]).max())) for name, value in largest.items()}
    if min(largest.values()) < 0:
        raise ModelError("there are no pictures to calibrate with")
    if not np.isfinite(list(largest.values())).all():
        raise ModelError("this model computes values that are not finite")
    return largest


def _add_pair(graph: onnx.GraphProto, source: str, largest: float) -> str:
    """Quantise a tensor and dequantise it again; returns the name of what comes out."""
    scale, zero = _scale_of(graph, source, largest)
    quantised, out = f"{source}_fp8", f"{source}_from_fp8"
    graph.node.append(helper.make_node("QuantizeLinear", [source, scale, zero], [quantised], f"{source}_to_fp8"))
    graph.node.append(helper.make_node("DequantizeLinear", [quantised, scale, zero], [out], out))
    return out


def _stored(graph: onnx.GraphProto, weight: TensorProto) -> str:
    """Store a weight as FP8 in its own place; returns the name of what is dequantised from it."""
    values: NDArray[np.float32] = numpy_helper.to_array(weight).astype(np.float32)
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise ModelError("this model has weights that are not finite")
    name, out = weight.name, f"{weight.name}_from_fp8"
    scale, zero = _scale_of(graph, name, largest)
    divisor = largest / E4M3_MAX if largest > 0 else 1.0
    small = helper.make_tensor(f"{name}_fp8", TensorProto.FLOAT8E4M3FN, values.shape, (values / divisor).ravel())
    graph.initializer.append(small)
    graph.node.append(helper.make_node("DequantizeLinear", [small.name, scale, zero], [out], out))
    return out


def _scale_of(graph: onnx.GraphProto, name: str, largest: float) -> tuple[str, str]:
    """Add a tensor's scale and its zero point, which is 0; returns their names. Nothing but zeros is scaled by 1."""
    scale, zero = f"{name}_scale", f"{name}_zero"
    factor = np.array(largest / E4M3_MAX if largest > 0 else 1.0, np.float32)
    graph.initializer.append(numpy_helper.from_array(factor, scale))
    graph.initializer.append(helper.make_tensor(zero, TensorProto.FLOAT8E4M3FN, [], [0.0]))
    return scale, zero


def _drop_unused(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Remove those of the stored tensors that nothing needs any more, and their declarations as inputs."""
    gone = set(names).difference(*(node.input for node in graph.node))
    weights = [weight for weight in graph.initializer if weight.name not in gone]
    inputs = [value for value in graph.input if value.name not in gone]
    del graph.initializer[:]
    del graph.input[:]
    graph.initializer.extend(weights)
    graph.input.extend(inputs)


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node behind those that it needs, otherwise in the order in which they stand."""
    known = {"", *(value.name for value in graph.input), *(weight.name for weight in graph.initializer)}
    waiting: list[onnx.NodeProto] = list(graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later: list[onnx.NodeProto] = []
        for node in waiting:
            is_ready = known.issuperset(node.input)
            (ordered if is_ready else later).append(node)
            known.update(node.output if is_ready else ())
        if len(later) == len(waiting):
            raise ModelError("this model's nodes need each other in a circle")
        waiting = later
    del graph.node[:]
    graph.node.extend(ordered)
