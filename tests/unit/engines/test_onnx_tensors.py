"""Weights that lie in files of their own are taken from those that the card lists, and from nowhere else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from app.core.errors import ModelError
from app.core.model import Head
from app.core.ports import Engine, RawOutput
from app.vision.example import example_picture
from engines.model_file import ModelFile, read_model_file
from engines.onnx_tensors import with_tensors_inside
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.openvino_engine import OpenVinoEngine
from engines.protobuf_wire import bytes_field
from engines.tiny_yolo import tiny_yolo
from tests.unit.engines.versions import MODEL, write_version


def spread(model: ModelProto) -> tuple[ModelProto, bytes]:
    """Return the model with its weights elsewhere, and the bytes of `weights.bin`."""
    model = onnx.load_from_string(model.SerializeToString())
    weights = b"in front"
    for tensor in model.graph.initializer:
        put_elsewhere(tensor, location="weights.bin", offset=len(weights), length=len(tensor.raw_data))
        weights += tensor.raw_data
        tensor.ClearField("raw_data")
    return model, weights


def put_elsewhere(tensor: TensorProto, **where: object) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def elsewhere(location: str, **where: object) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "leak")
    tensor.ClearField("raw_data")
    put_elsewhere(tensor, location=location, **where)
    return tensor


def test_a_model_without_such_weights_is_passed_on_as_it_is() -> None:
    assert with_tensors_inside(MODEL, {}) is MODEL


def test_weights_elsewhere_become_the_model_that_keeps_them_inside() -> None:
    whole = tiny_yolo(Head.YOLOV8)
    model, weights = spread(whole)
    inside = onnx.load_from_string(with_tensors_inside(model.SerializeToString(), {"weights.bin": weights}))
    assert inside == whole


@pytest.mark.parametrize("open_it", [OnnxRuntimeEngine, OpenVinoEngine])
def test_both_runtimes_compute_the_same_from_either(open_it: Callable[..., Engine], tmp_path: Path) -> None:
    model, weights = spread(tiny_yolo(Head.YOLOV8))
    folder = write_version(tmp_path, model__onnx=model.SerializeToString(), weights__bin=weights)
    spread_out = read_model_file(folder / "model.onnx")
    whole = read_model_file(write_version(tmp_path, model="whole") / "model.onnx")
    canvas = example_picture(width_px=64, height_px=64)

    def rows(file: ModelFile) -> RawOutput:
        return open_it(file, streams=1).infer([canvas])

    np.testing.assert_array_equal(rows(spread_out), rows(whole))


def test_a_file_that_the_card_does_not_list_is_not_read(tmp_path: Path) -> None:
    model, weights = spread(tiny_yolo(Head.YOLOV8))
    folder = write_version(tmp_path, model__onnx=model.SerializeToString())
    (folder / "weights.bin").write_bytes(weights)
    with pytest.raises(ModelError, match="other files that its card does not list"):
        read_model_file(folder / "model.onnx")


LOCATIONS = ["../weights.bin", "/etc/passwd", "./weights.bin", "", "weights.bin\0", "*/_ORT_MEM_ADDR_/*", "model.onnx"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_outside_is_refused(location: str) -> None:
    model = tiny_yolo(Head.YOLOV8)
    model.graph.initializer.append(elsewhere(location))
    with pytest.raises(ModelError, match="other files"):
        with_tensors_inside(model.SerializeToString(), {"weights.bin": b"0" * 16})


def in_attribute(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["leak"], value=tensor))


def in_list_attribute(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Custom")
    node.attribute.append(AttributeProto(name="values", type=AttributeProto.TENSORS, tensors=[tensor]))


def in_subgraph(model: ModelProto, tensor: TensorProto) -> None:
    graph = GraphProto(name="below", initializer=[tensor])
    model.graph.node.append(helper.make_node("If", ["c"], ["leak"], then_branch=graph, else_branch=GraphProto()))


def in_graph_list(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Custom")
    graph = GraphProto(initializer=[tensor])
    node.attribute.append(AttributeProto(name="graphs", type=AttributeProto.GRAPHS, graphs=[graph]))


def in_function(model: ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["leak"], value=tensor)
    model.functions.append(helper.make_function("own", "F", [], ["leak"], [node], []))


def in_sparse_weight(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_sparse_attribute(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant")
    attribute = node.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.indices.CopyFrom(tensor)


def in_sparse_list_attribute(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Custom")
    attribute = node.attribute.add(name="values", type=AttributeProto.SPARSE_TENSORS)
    attribute.sparse_tensors.add().values.CopyFrom(tensor)


def in_training(model: ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().initialization.initializer.append(tensor)


PLACES = [
    in_attribute,
    in_list_attribute,
    in_subgraph,
    in_graph_list,
    in_function,
    in_sparse_weight,
    in_sparse_attribute,
    in_sparse_list_attribute,
    in_training,
]


@pytest.mark.parametrize("put", PLACES)
def test_every_place_of_a_tensor_is_looked_into(put: Callable[[ModelProto, TensorProto], None]) -> None:
    model = tiny_yolo(Head.YOLOV8)
    put(model, elsewhere("../../etc/passwd"))
    with pytest.raises(ModelError, match="other files"):
        with_tensors_inside(model.SerializeToString(), {})
    model = tiny_yolo(Head.YOLOV8)
    put(model, elsewhere("weights.bin", offset=1, length=16))
    inside = with_tensors_inside(model.SerializeToString(), {"weights.bin": bytes(range(40))})
    assert bytes(range(1, 17)) in inside
    assert b"weights.bin" not in inside
    assert with_tensors_inside(inside, {}) is inside


@pytest.mark.parametrize(
    "where",
    [{"offset": 17}, {"length": 17}, {"offset": 8, "length": 9}, {"offset": -1}, {"length": -1}, {"offset": 2**70}],
)
def test_a_range_that_the_file_does_not_have_is_refused(where: dict[str, int]) -> None:
    model = tiny_yolo(Head.YOLOV8)
    model.graph.initializer.append(elsewhere("weights.bin", **where))
    with pytest.raises(ModelError, match="beyond the end"):
        with_tensors_inside(model.SerializeToString(), {"weights.bin": b"0" * 16})


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    return b"".join(bytes_field(number, content))


def test_a_location_written_so_that_only_parsers_that_drop_bits_see_it_is_refused() -> None:
    """An enumeration is 32 bits: 2^32 + 1 is EXTERNAL to protobuf."""
    location = bytes([14 << 3]) + bytes([0x81, 0x80, 0x80, 0x80, 0x10])
    model = field(7, field(5, location))
    assert onnx.load_from_string(model).graph.initializer[0].data_location == TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="other files"):
        with_tensors_inside(model, {})


def test_graphs_nested_without_end_are_refused() -> None:
    message = b""
    for number in (6, 5, 1) * 2_000:
        message = field(number, message)
    with pytest.raises(ModelError, match="not an ONNX model"):
        with_tensors_inside(field(7, message), {})


@given(at=st.integers(0, len(MODEL) - 1), value=st.integers(0, 255))
def test_a_flipped_byte_gives_a_model_or_a_model_error(at: int, value: int) -> None:
    broken = MODEL[:at] + bytes([value]) + MODEL[at + 1 :]
    outcome: object = None
    try:
        outcome = with_tensors_inside(broken, {})
    except ModelError as error:
        outcome = error
    assert outcome is not None
