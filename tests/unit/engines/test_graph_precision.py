"""What a network computes in is read from its graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.core.errors import ModelError
from app.core.model import Head
from engines.graph_precision import graph_precision
from engines.tiny_yolo import tiny_yolo


def quantised(zero_point: int, *, is_constant: bool) -> bytes:
    """Return a graph that quantises and dequantises once, with a zero point of that type."""
    zero = helper.make_tensor("zero", zero_point, [], [0])
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    if is_constant:
        nodes.insert(0, helper.make_node("Constant", [], ["zero"], value=zero))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [scale] if is_constant else [scale, zero])
    return helper.make_model(graph).SerializeToString()


def test_a_plain_export_is_float32() -> None:
    assert graph_precision(tiny_yolo(Head.YOLOV8).SerializeToString()) == "fp32"


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")])
def test_half_floats_are_seen_by_their_weights(kind: int, name: str) -> None:
    model = tiny_yolo(Head.YOLOV8)
    model.graph.initializer.append(helper.make_tensor("half", kind, [1], [1.0]))
    assert graph_precision(model.SerializeToString()) == name


@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"), [(TensorProto.INT8, "int8"), (TensorProto.UINT8, "int8"), (TensorProto.FLOAT8E4M3FN, "fp8")]
)
def test_quantisation_is_seen_by_its_zero_points(kind: int, name: str, *, is_constant: bool) -> None:
    assert graph_precision(quantised(kind, is_constant=is_constant)) == name


def test_whole_numbers_that_nothing_is_quantised_with_mean_nothing() -> None:
    model = tiny_yolo(Head.YOLOV8)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.int8), "table"))
    assert graph_precision(model.SerializeToString()) == "fp32"


def test_what_is_no_onnx_is_a_model_error() -> None:
    with pytest.raises(ModelError):
        graph_precision(onnx.ModelProto(producer_name="x" * 40).SerializeToString()[:-1])
