"""Reads what an ONNX file says about itself, and none of its weights, without any runtime.

Source: onnx/onnx.proto.
"""

from dataclasses import dataclass

from app.core.errors import ModelError
from engines.protobuf_wire import enum_in, fields, message_in, text_in, values

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_WEIGHTS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 5, 11, 12
_TENSOR_NAME, _TENSOR_LOCATION = 8, 14
_EXTERNAL = 1

FLOAT32 = 1
"""TensorProto.DataType.FLOAT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One input or output: `element_type` is ONNX's number, a dimension that is free is None."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxHeader:
    """What a model declares."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]


def read_header(data: bytes) -> OnnxHeader:
    """Return the model's declarations; ModelError when it is not ONNX or keeps weights in other files."""
    try:
        return _read_model(memoryview(data))
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError("this file is not an ONNX model") from error


def _read_model(model: memoryview) -> OnnxHeader:
    graph, metadata = memoryview(b""), {}
    for number, value, _ in fields(model):
        if number == _MODEL_GRAPH:
            graph = message_in(value)
        elif number == _MODEL_METADATA:
            entry = values(message_in(value))
            metadata[text_in(entry[1])] = text_in(entry.get(2, memoryview(b"")))
    inputs, outputs, weights = [], [], set()
    for number, value, _ in fields(graph):
        if number == _GRAPH_WEIGHTS:
            weights.add(_weight_name(message_in(value)))
        elif number == _GRAPH_INPUTS:
            inputs.append(_tensor(message_in(value)))
        elif number == _GRAPH_OUTPUTS:
            outputs.append(_tensor(message_in(value)))
    # Before IR version 4 every weight was declared as an input too.
    inputs = [tensor for tensor in inputs if tensor.name not in weights]
    if not inputs or not outputs:
        raise ValueError("no graph")
    return OnnxHeader(inputs=tuple(inputs), outputs=tuple(outputs), metadata=metadata)


def _weight_name(tensor: memoryview) -> str:
    """Return a weight's name; a weight elsewhere is refused: the file could make us read any other."""
    fields_of_it = values(tensor)
    if enum_in(fields_of_it.get(_TENSOR_LOCATION)) == _EXTERNAL:
        raise ModelError("this model keeps its weights in other files; export it as one file")
    return text_in(fields_of_it.get(_TENSOR_NAME, memoryview(b"")))


def _tensor(value_info: memoryview) -> TensorInfo:
    """Return ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 {...} } } }."""
    info = values(value_info)
    kind = values(message_in(values(message_in(info[2])).get(1, memoryview(b""))))
    dimensions = fields(message_in(kind.get(2, memoryview(b""))))
    shape = [values(message_in(dimension.value)).get(1) for dimension in dimensions]
    element_type = kind.get(1, 0)
    return TensorInfo(
        name=text_in(info[1]),
        element_type=element_type if isinstance(element_type, int) else 0,
        shape=tuple(size if isinstance(size, int) and 0 < size < 2**31 else None for size in shape),
    )
