"""Reads what an ONNX file says about itself, and none of its weights, without any runtime.

Source: onnx/onnx.proto, and the protobuf encoding guide for the wire format.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from app.core.errors import ModelError

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_WEIGHTS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 5, 11, 12
_TENSOR_NAME, _TENSOR_LOCATION = 8, 14
_EXTERNAL = 1
_VARINT_BITS = 64

FLOAT32 = 1
"""TensorProto.DataType.FLOAT."""

_Field: TypeAlias = tuple[int, int | memoryview]


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
    for number, value in _fields(model):
        if number == _MODEL_GRAPH:
            graph = _message(value)
        elif number == _MODEL_METADATA:
            entry = dict(_fields(_message(value)))
            metadata[_string(entry[1])] = _string(entry.get(2, memoryview(b"")))
    inputs, outputs, weights = [], [], set()
    for number, value in _fields(graph):
        if number == _GRAPH_WEIGHTS:
            weights.add(_weight_name(_message(value)))
        elif number == _GRAPH_INPUTS:
            inputs.append(_tensor(_message(value)))
        elif number == _GRAPH_OUTPUTS:
            outputs.append(_tensor(_message(value)))
    # Before IR version 4 every weight was declared as an input too.
    inputs = [tensor for tensor in inputs if tensor.name not in weights]
    if not inputs or not outputs:
        raise ValueError("no graph")
    return OnnxHeader(inputs=tuple(inputs), outputs=tuple(outputs), metadata=metadata)


def _weight_name(tensor: memoryview) -> str:
    """Return a weight's name; a weight elsewhere is refused: the file could make us read any other."""
    fields = dict(_fields(tensor))
    if fields.get(_TENSOR_LOCATION) == _EXTERNAL:
        raise ModelError("this model keeps its weights in other files; export it as one file")
    return _string(fields.get(_TENSOR_NAME, memoryview(b"")))


def _tensor(value_info: memoryview) -> TensorInfo:
    """Return ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 {...} } } }."""
    info = dict(_fields(value_info))
    kind = dict(_fields(_message(dict(_fields(_message(info[2]))).get(1, memoryview(b"")))))
    shape = [
        dict(_fields(_message(dimension))).get(1) for _, dimension in _fields(_message(kind.get(2, memoryview(b""))))
    ]
    element_type = kind.get(1, 0)
    return TensorInfo(
        name=_string(info[1]),
        element_type=element_type if isinstance(element_type, int) else 0,
        shape=tuple(size if isinstance(size, int) and 0 < size < 2**31 else None for size in shape),
    )


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield each field's number and value: an int, or the bytes of a string or a message, not copied."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                number, at = _varint(message, at)
                yield key >> 3, number
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise ValueError("unknown wire type")
        if at + size > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the base-128 number that starts at `at`, and where it ends."""
    value = 0
    for shift in range(0, _VARINT_BITS + 6, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return value, at
    raise ValueError("number too long")


def _message(value: int | memoryview) -> memoryview:
    """Return the bytes of a field that must hold some."""
    if isinstance(value, int):
        raise TypeError("a number where a message should be")
    return value


def _string(value: int | memoryview) -> str:
    """Return the text of a field; what is not UTF-8 is replaced."""
    return bytes(_message(value)).decode("utf-8", errors="replace")
