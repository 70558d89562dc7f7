"""Puts the feeding of a network into its graph: `(B, H, W, 3)` bytes in, scaled planes to where its input was.

A canvas of 640 x 640 is 1.2 MB as bytes and 4.9 MB as float32, and it is this that crosses PCIe for every picture. A
kernel of our own would need a compiler on the serving machine; nodes in the graph are fused with the first layers.
TensorRT takes bytes at the edge of a network, if a Cast follows at once. Source: TensorRT, data types; onnx/onnx.proto.
"""

import struct
from collections.abc import Sequence

from app.core.errors import ModelError
from engines.model_file import ModelFile
from engines.onnx_header import FLOAT32, read_header
from engines.protobuf_wire import bytes_field, fields, message_in, text_in, values

INPUT_NAME = "sightline_pixels"
_UINT8, _INT64 = 2, 7
_MODEL_GRAPH = 7
_GRAPH_NODES, _GRAPH_INPUTS = 1, 11
_ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 2, 4, 7


def declared_sides(file: ModelFile) -> tuple[int | None, int | None]:
    """Return the height and width that the graph itself fixes, None where it leaves them free."""
    shape = next(tensor.shape for tensor in read_header(file.data).inputs if tensor.name == file.input_name)
    return shape[2], shape[3]


def with_byte_input(file: ModelFile) -> bytes:
    """Return the model's bytes with `INPUT_NAME` as its input; a batch and sides that are free stay so."""
    try:
        return b"".join(_model(file))
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ModelError("this file is not an ONNX model") from error


def _model(file: ModelFile) -> list[bytes]:
    return [
        _message(number, *_graph(message_in(value), file)) if number == _MODEL_GRAPH else bytes(whole)
        for number, value, whole in fields(memoryview(file.data))
    ]


def _graph(graph: memoryview, file: ModelFile) -> list[bytes]:
    """Return the graph's fields, the new nodes before those that they feed; what refers to the old input stays."""
    parts = [_message(_GRAPH_NODES, node) for node in _feeding(file)]
    parts.append(_message(_GRAPH_INPUTS, _declaration((file.static_batch, *declared_sides(file), 3))))
    for number, value, whole in fields(graph):
        if number != _GRAPH_INPUTS or text_in(values(message_in(value))[1]) != file.input_name:
            parts.append(bytes(whole))
    return parts


def _feeding(file: ModelFile) -> list[bytes]:
    """Return the nodes from the bytes to the old input: as float32, channels in their order, planes, scaled."""
    order = (2, 1, 0) if file.spec.channel_order == "bgr" else (0, 1, 2)
    return [
        _node("Cast", [INPUT_NAME], "sightline_float", _attribute("to", _ATTRIBUTE_INT, FLOAT32)),
        _constant("sightline_order", _tensor(_INT64, struct.pack("<3q", *order), n=3)),
        _node(
            "Gather", ["sightline_float", "sightline_order"], "sightline_ordered", _attribute("axis", _ATTRIBUTE_INT, 3)
        ),
        _node("Transpose", ["sightline_ordered"], "sightline_planes", _attribute("perm", _ATTRIBUTE_INTS, 0, 3, 1, 2)),
        _constant("sightline_scale", _tensor(FLOAT32, struct.pack("<f", file.spec.scale), n=None)),
        _node("Mul", ["sightline_planes", "sightline_scale"], file.input_name),
    ]


def _node(kind: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    """Return NodeProto: input 1, output 2, name 3, op_type 4, attribute 5."""
    parts = [_text(1, name) for name in inputs]
    parts += [_text(2, output), _text(3, f"sightline_feeds_{output}"), _text(4, kind)]
    return b"".join([*parts, *(_message(5, attribute) for attribute in attributes)])


def _constant(name: str, tensor: bytes) -> bytes:
    """Return a node that gives the tensor; before IR version 4 a stored weight had to be declared as an input too."""
    return _node("Constant", [], name, _text(1, "value") + _message(5, tensor) + _number(20, _ATTRIBUTE_TENSOR))


def _attribute(name: str, kind: int, *numbers: int) -> bytes:
    """Return AttributeProto: name 1, i 3 or ints 8, type 20."""
    field = 3 if kind == _ATTRIBUTE_INT else 8
    return b"".join([_text(1, name), *(_number(field, value) for value in numbers), _number(20, kind)])


def _tensor(element_type: int, raw: bytes, *, n: int | None) -> bytes:
    """Return TensorProto: dims 1, data_type 2, raw_data 9; a scalar for n None."""
    dims = b"" if n is None else _number(1, n)
    return dims + _number(2, element_type) + _message(9, raw)


def _declaration(shape: Sequence[int | None]) -> bytes:
    """Return ValueInfoProto: name 1, type 2 {tensor_type 1 {elem_type 1, shape 2 {dim 1 {value 1 | param 2}}}}."""
    sizes = [_text(2, f"free_{at}") if size is None else _number(1, size) for at, size in enumerate(shape)]
    dims = b"".join(_message(1, size) for size in sizes)
    return _text(1, INPUT_NAME) + _message(2, _message(1, _number(1, _UINT8) + _message(2, dims)))


def _message(number: int, *parts: bytes) -> bytes:
    return b"".join(bytes_field(number, b"".join(parts)))


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _number(number: int, value: int) -> bytes:
    """Return a field of a whole number from 0, in base 128 with the low digits first."""
    digits = bytearray()
    for rest in (number << 3, value):
        while rest > 0x7F:  # noqa: PLR2004 - seven bits a byte
            digits.append(rest & 0x7F | 0x80)
            rest >>= 7  # noqa: PLW2901
        digits.append(rest)
    return bytes(digits)
