"""What a network computes in, read from its graph: TensorRT 11 takes its types from there, so no flag can say it.

Source: onnx/onnx.proto; TensorRT 11.4, strongly typed networks.
"""

from collections.abc import Iterator

from app.core.errors import ModelError
from engines.protobuf_wire import Value, enum_in, fields, message_in, text_in, values

_MODEL_GRAPH, _GRAPH_NODES, _GRAPH_WEIGHTS = 7, 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _NODE_ATTRIBUTE = 1, 2, 4, 5
_TENSOR_TYPE, _TENSOR_NAME = 2, 8
_ATTRIBUTE_TENSOR = 5
_UINT8, _INT8, _FLOAT16, _BFLOAT16 = 2, 3, 10, 16
_FLOAT8 = frozenset({17, 18, 19, 20})
_QUANTISED_BY = "DequantizeLinear"


def graph_precision(data: bytes) -> str:
    """Return `fp32`, `fp16`, `bf16`, `int8` or `fp8`: the shortest kind of number that the network multiplies in.

    Numbers are quantised where a DequantizeLinear's zero point has that type. ModelError when it is no ONNX.
    """
    try:
        return _precision(memoryview(data))
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ModelError("this file is not an ONNX model") from error


def _precision(model: memoryview) -> str:
    stored: dict[str, int] = {}
    zero_points: set[str] = set()
    for graph in (message_in(field.value) for field in fields(model) if field.number == _MODEL_GRAPH):
        for number, value, _ in fields(graph):
            if number == _GRAPH_WEIGHTS:
                tensor = values(message_in(value))
                stored[text_in(tensor.get(_TENSOR_NAME, memoryview(b"")))] = enum_in(tensor.get(_TENSOR_TYPE))
            elif number == _GRAPH_NODES:
                zero_points.update(_zero_point(message_in(value)))
                stored.update(_constant(message_in(value)))
    quantised = {stored.get(name, 0) for name in zero_points}
    if quantised & _FLOAT8:
        return "fp8"
    if quantised & {_INT8, _UINT8}:
        return "int8"
    kinds = set(stored.values())
    return "fp16" if _FLOAT16 in kinds else "bf16" if _BFLOAT16 in kinds else "fp32"


def _zero_point(node: memoryview) -> list[str]:
    """Return the name of the third input of a DequantizeLinear."""
    if text_in(values(node).get(_NODE_KIND, memoryview(b""))) != _QUANTISED_BY:
        return []
    return [text_in(field.value) for field in fields(node) if field.number == _NODE_INPUT][2:3]


def _constant(node: memoryview) -> Iterator[tuple[str, int]]:
    """Yield the name and type of what a Constant gives."""
    parts: dict[int, Value] = values(node)
    if text_in(parts.get(_NODE_KIND, memoryview(b""))) == "Constant" and _NODE_ATTRIBUTE in parts:
        tensor = values(message_in(parts[_NODE_ATTRIBUTE])).get(_ATTRIBUTE_TENSOR)
        if tensor is not None:
            yield text_in(parts[_NODE_OUTPUT]), enum_in(values(message_in(tensor)).get(_TENSOR_TYPE))
