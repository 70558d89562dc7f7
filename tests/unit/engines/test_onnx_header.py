"""What an ONNX file declares is read without a runtime, and nothing else is believed."""

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ModelError
from app.core.model import Head
from engines.onnx_header import FLOAT32, read_header
from engines.tiny_yolo import tiny_yolo

MODEL = tiny_yolo(Head.YOLOV8).SerializeToString()


def test_inputs_outputs_and_metadata_are_those_that_onnx_reads() -> None:
    header = read_header(MODEL)
    (pixels,), (output,) = header.inputs, header.outputs
    assert (pixels.name, pixels.element_type, pixels.shape) == ("images", FLOAT32, (None, 3, 64, 64))
    assert (output.name, output.shape) == ("output0", (None, 7, 84))
    assert header.metadata == {entry.key: entry.value for entry in onnx.load_from_string(MODEL).metadata_props}


def test_weights_that_old_files_declare_as_inputs_are_not_inputs() -> None:
    model = onnx.load_from_string(MODEL)
    weight = model.graph.initializer[0]
    model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    assert len(read_header(model.SerializeToString()).inputs) == 1


def test_weights_in_other_files_are_refused() -> None:
    model = onnx.load_from_string(MODEL)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="other files"):
        read_header(model.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\x00", b"GIF89a", b"\xff" * 40, MODEL[:200], MODEL[:-1], b"{}" * 99])
def test_what_is_not_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        read_header(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_model_error_at_most(data: bytes) -> None:
    with pytest.raises(ModelError):
        read_header(data)


@given(st.integers(0, len(MODEL) - 1), st.integers(0, 255))
def test_a_flipped_byte_gives_a_header_or_a_model_error(at: int, value: int) -> None:
    broken = MODEL[:at] + bytes([value]) + MODEL[at + 1 :]
    outcome = ()
    try:
        outcome = read_header(broken).inputs
    except ModelError as error:
        outcome = (error,)
    assert outcome
