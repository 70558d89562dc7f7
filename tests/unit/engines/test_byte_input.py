"""A network fed with bytes answers as it does when the pixels are scaled outside."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from app.core.errors import ModelError
from app.core.model import Head
from engines.byte_input import INPUT_NAME, with_byte_input
from engines.model_file import ModelFile, read_model_file
from engines.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.tiny_yolo import tiny_yolo


def model_file(folder: Path, head: Head, **more: int | None) -> ModelFile:
    path = folder / "model.onnx"
    path.write_bytes(tiny_yolo(head, **more).SerializeToString())
    (folder / "card.json").write_text(json.dumps({"head": {"kind": head}}), encoding="utf-8")
    return read_model_file(path)


def pictures(count: int, *, side_px: int = 64) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("head", list(Head))
@pytest.mark.parametrize("batch", [None, 2])
def test_rows_are_the_same_to_the_last_bit(head: Head, batch: int | None, tmp_path: Path) -> None:
    file = model_file(tmp_path, head, batch=batch)
    session = ort.InferenceSession(with_byte_input(file), providers=["CPUExecutionProvider"])
    (rows,) = session.run([file.output_name], {INPUT_NAME: pictures(2)})
    reference = OnnxRuntimeEngine(file, streams=1)
    np.testing.assert_array_equal(rows, reference.infer(list(pictures(2))))
    reference.close()


def test_the_graph_is_valid_and_its_free_sizes_stay_free(tmp_path: Path) -> None:
    model = onnx.load_from_string(with_byte_input(model_file(tmp_path, Head.YOLOX, size_px=None)))
    onnx.checker.check_model(model, full_check=True)
    (pixels,) = model.graph.input
    assert [size.dim_value for size in pixels.type.tensor_type.shape.dim] == [0, 0, 0, 3]
    assert {entry.op_type for entry in model.graph.node[:6]} == {"Cast", "Constant", "Gather", "Transpose", "Mul"}


def test_a_model_of_before_version_4_whose_weights_are_inputs_too_is_rewritten(tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOV8)
    for weight in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    file = read_model_file(path)
    session = ort.InferenceSession(with_byte_input(file), providers=["CPUExecutionProvider"])
    assert session.run(None, {INPUT_NAME: pictures(1)})[0].shape == (1, 7, 84)


def test_what_is_no_onnx_is_a_model_error(tmp_path: Path) -> None:
    file = model_file(tmp_path, Head.YOLOV8)
    object.__setattr__(file, "data", file.data[:-40])
    with pytest.raises(ModelError):
        with_byte_input(file)


@pytest.mark.parametrize("batch", [None, 2])
def test_the_engine_for_onnxruntime_on_a_gpu_gives_those_rows(batch: int | None, tmp_path: Path) -> None:
    file = model_file(tmp_path, Head.YOLOV8, batch=batch)
    engine = OnnxRuntimeCudaEngine(file, provider="CPUExecutionProvider")
    reference = OnnxRuntimeEngine(file, streams=1)
    canvases = list(pictures(11))
    np.testing.assert_allclose(engine.infer(canvases), reference.infer(canvases), atol=1e-5)
    assert (engine.streams, engine.spec) == (1, file.spec)
    engine.close()
    reference.close()
