"""The graphs of smaller precisions are such as TensorRT takes, and ranges come from what is served."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from app.core.model import Head, ModelSpec
from engines.model_file import ModelFile, read_model_file
from engines.onnx_sketch import Sketch, ultralytics_metadata
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.quantized_graph import head_convolutions, network_input, to_fp16, to_int8
from engines.tiny_yolo import tiny_yolo
from tests.builders import make_rgb

STREET = Path(__file__).parents[3] / "engines" / "models" / "street" / "1.0.0" / "model.onnx"


def small_network() -> ModelProto:
    """Two convolutions, and one that gives boxes and scores; its nodes have no names."""
    sketch = Sketch(size_px=64)
    x = sketch.conv(sketch.conv("images", 8, kernel=3, stride=8), 16)
    output = sketch.reshape(sketch.conv(x, 7, is_activated=False), (0, 7, -1))
    return sketch.model(output, shape=(7, 64), metadata=ultralytics_metadata(3))


def file_of(model: ModelProto, *, channel_order: str = "rgb") -> ModelFile:
    spec = ModelSpec(
        name="small",
        version="1.0.0",
        labels=("a", "b", "c"),
        head=Head.YOLOV8,
        input_width_px=64,
        input_height_px=64,
        channel_order=channel_order,
    )
    return ModelFile(
        spec=spec,
        data=model.SerializeToString(),
        input_name="images",
        output_name="output0",
        row_shape=(7, 64),
        static_batch=None,
    )


@pytest.fixture(scope="module")
def int8():
    return to_int8(file_of(small_network()), [make_rgb(width_px=100, height_px=60, seed=seed) for seed in range(4)])


def test_quantisation_is_symmetric_signed_and_by_channel(int8: ModelProto) -> None:
    weights = {weight.name: numpy_helper.to_array(weight) for weight in int8.graph.initializer}
    pairs = [node for node in int8.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert len(pairs) >= 4
    for node in pairs:
        zero_point = weights[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
    by_channel = {weights[node.input[1]].shape for node in pairs if node.input[0] in weights}
    assert by_channel == {(8,), (16,)}


def test_the_head_and_every_bias_stay_float(int8: ModelProto) -> None:
    made_by = {node.output[0]: node.op_type for node in int8.graph.node}
    kinds = {weight.name: weight.data_type for weight in int8.graph.initializer}
    convolutions = [node for node in int8.graph.node if node.op_type == "Conv"]
    assert [made_by.get(node.input[1]) for node in convolutions] == ["DequantizeLinear", "DequantizeLinear", None]
    assert [kinds[node.input[2]] for node in convolutions] == [TensorProto.FLOAT] * 3


def test_fp16_halves_the_weights_and_keeps_inputs_and_outputs() -> None:
    model = to_fp16(file_of(small_network()))
    kinds = {weight.data_type for weight in model.graph.initializer if len(weight.dims) == 4}
    assert kinds == {TensorProto.FLOAT16}
    sides = [*model.graph.input, *model.graph.output]
    assert {side.type.tensor_type.elem_type for side in sides} == {TensorProto.FLOAT}


def test_both_keep_what_the_file_says_of_itself_and_compute_about_the_same(int8: ModelProto) -> None:
    model = small_network()
    picture = make_rgb(width_px=100, height_px=60, seed=9)
    pixels = network_input(picture, file_of(model).spec)

    def rows(graph: ModelProto) -> np.ndarray:
        session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"images": pixels})[0])

    for graph, tolerance in ((int8, 0.1), (to_fp16(file_of(model)), 0.01)):
        assert graph.metadata_props == model.metadata_props
        assert np.abs(rows(graph) - rows(model)).max() < tolerance * np.abs(rows(model)).max()


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_calibration_sees_what_the_engine_feeds(channel_order: str) -> None:
    file = file_of(small_network(), channel_order=channel_order)
    canvas = make_rgb(width_px=64, height_px=64, seed=3)
    session = ort.InferenceSession(file.data, providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"images": network_input(canvas, file.spec)})
    np.testing.assert_allclose(OnnxRuntimeEngine(file, streams=1).infer([canvas]), rows, rtol=1e-5, atol=1e-6)


def test_the_head_of_the_bundled_model_is_what_ultralytics_leaves_out() -> None:
    graph = onnx.load_from_string(read_model_file(STREET).data).graph
    outputs = {f"/model.22/cv{branch}.{level}/cv{branch}.{level}.2/Conv" for branch in (2, 3) for level in range(3)}
    assert set(head_convolutions(graph)) == {*outputs, "/model.22/dfl/conv/Conv"}


@pytest.mark.parametrize("head", Head)
def test_every_head_ends_in_convolutions(head: Head) -> None:
    graph = tiny_yolo(head).graph
    for number, node in enumerate(graph.node):
        node.name = f"node_{number}"
    convolutions = {node.name for node in graph.node if node.op_type == "Conv"}
    assert set(head_convolutions(graph)) == convolutions
