"""The FP8 graph is such as TensorRT takes, is calibrated on what is served, and runs on the CPU where it is judged."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from app.core.errors import ModelError
from app.core.model import Head, ModelSpec
from engines.fp8_graph import E4M3_MAX, to_fp8
from engines.graph_precision import graph_precision
from engines.model_file import ModelFile
from engines.onnx_sketch import Sketch
from engines.quantized_graph import network_input
from tests.builders import make_rgb
from tests.unit.engines.small_network import BODY, ROWS, small_network

PICTURES = [make_rgb(width_px=100, height_px=60, seed=seed) for seed in range(4)]


def file_of(model: ModelProto) -> ModelFile:
    spec = ModelSpec(
        name="small",
        version="1.0.0",
        labels=("a", "b", "c"),
        head=Head.YOLOV8,
        input_width_px=64,
        input_height_px=64,
    )
    data = model.SerializeToString()
    return ModelFile(
        spec=spec, data=data, input_name="images", output_name="output0", row_shape=ROWS, static_batch=None
    )


def rows(graph: ModelProto, pixels: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": pixels})[0])


@pytest.fixture(scope="module")
def fp8() -> ModelProto:
    return to_fp8(file_of(small_network()), PICTURES)


def test_the_body_is_quantised_by_tensor_with_zero_points_of_zero(fp8: ModelProto) -> None:
    stored = {weight.name: weight for weight in fp8.graph.initializer}
    pairs = [node for node in fp8.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert len(pairs) == 3 * BODY  # a pair for each input; weights are stored as they are
    for node in pairs:
        zero = stored[node.input[2]]
        assert zero.data_type == TensorProto.FLOAT8E4M3FN
        assert float(numpy_helper.to_array(zero).astype(np.float32)) == 0
        assert numpy_helper.to_array(stored[node.input[1]]).shape == ()
    assert [weight.data_type for weight in fp8.graph.initializer if len(weight.dims) == 4].count(
        TensorProto.FLOAT8E4M3FN
    ) == BODY
    assert graph_precision(fp8.SerializeToString()) == "fp8"


def test_the_head_and_every_bias_stay_float_and_nothing_unused_stays(fp8: ModelProto) -> None:
    made_by = {output: node.op_type for node in fp8.graph.node for output in node.output}
    kinds = {weight.name: weight.data_type for weight in fp8.graph.initializer}
    convolutions = [node for node in fp8.graph.node if node.op_type == "Conv"]
    assert [made_by.get(node.input[1]) for node in convolutions].count("DequantizeLinear") == BODY
    assert [made_by.get(node.input[1]) for node in convolutions].count(None) == BODY
    assert {kinds[node.input[2]] for node in convolutions} == {TensorProto.FLOAT}
    assert kinds.keys() <= {name for node in fp8.graph.node for name in node.input}


def test_scales_come_from_what_the_engine_feeds_and_nothing_is_cut_off(fp8: ModelProto) -> None:
    stored = {weight.name: weight for weight in fp8.graph.initializer}
    (first,) = (node for node in fp8.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "images")
    largest = max(network_input(picture, file_of(small_network()).spec).max() for picture in PICTURES)
    assert float(numpy_helper.to_array(stored[first.input[1]])) == pytest.approx(largest / E4M3_MAX)
    weights = {w.name: numpy_helper.to_array(w) for w in small_network().graph.initializer if len(w.dims) == 4}
    for name in [name for name in weights if f"{name}_fp8" in stored]:
        small = numpy_helper.to_array(stored[f"{name}_fp8"]).astype(np.float32)
        back = small * numpy_helper.to_array(stored[f"{name}_scale"])
        assert np.abs(small).max() == E4M3_MAX
        # Half a step of three bits of mantissa, or half the smallest step of all.
        bound = np.maximum(np.abs(weights[name]) / 16, np.abs(weights[name]).max() / E4M3_MAX * 2**-10)
        assert (np.abs(back - weights[name]) <= bound * 1.001).all()


def test_it_keeps_what_the_file_says_of_itself_and_computes_about_the_same(fp8: ModelProto) -> None:
    model = small_network()
    pixels = network_input(make_rgb(width_px=100, height_px=60, seed=9), file_of(model).spec)
    assert fp8.metadata_props == model.metadata_props
    assert 0 < np.abs(rows(fp8, pixels) - rows(model, pixels)).max() < 0.15 * np.abs(rows(model, pixels)).max()


def test_a_weight_that_the_head_shares_stays_for_it() -> None:
    model = small_network()
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weight = next(one for one in model.graph.initializer if one.name == convolutions[-1].input[1])
    extra = helper.make_node("Conv", [convolutions[-1].input[0], weight.name], ["beside"])
    model.graph.node.insert(list(model.graph.node).index(convolutions[-1]), extra)
    model.graph.node.append(helper.make_node("Identity", ["beside"], ["end"]))
    made = to_fp8(file_of(model), PICTURES)
    onnx.checker.check_model(made)
    assert weight.name in {one.name for one in made.graph.initializer}


def test_without_pictures_nothing_is_calibrated() -> None:
    with pytest.raises(ModelError, match="no pictures"):
        to_fp8(file_of(small_network()), [])


def test_a_network_that_is_not_finite_is_refused() -> None:
    model = small_network()
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, np.float32), weight.name))
    with pytest.raises(ModelError, match="not finite"):
        to_fp8(file_of(model), PICTURES)


def test_a_network_without_convolutions_is_refused() -> None:
    sketch = Sketch(size_px=64)
    output = sketch.reshape(sketch.node("ReduceMean", "images", sketch.ints((1,)), keepdims=0), (0, 1, -1))
    model = sketch.model(output, shape=(1, 4096), metadata={})
    with pytest.raises(ModelError, match="no convolutions"):
        to_fp8(replace(file_of(model), row_shape=(1, 4096)), PICTURES)
