"""Which engine comes back, and that it is warm."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.core.errors import ModelError
from app.core.frame import Pixels
from app.core.model import Head
from engines import opening
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import Kind, available_cores, open_engine, read_spec, warm
from engines.openvino_engine import OpenVinoEngine
from engines.reference import ReferenceEngine
from engines.tiny_yolo import tiny_yolo


class CountingEngine:
    """Notes the batch sizes that it is given; `lost_rows` rows fewer come back."""

    def __init__(self, *, streams: int = 1, lost_rows: int = 0) -> None:
        self.spec = ReferenceEngine(width_px=16, height_px=16).spec
        self.streams = streams
        self.sizes = []
        self._lost_rows = lost_rows

    def infer(self, pixels: Sequence[Pixels]):
        """Return rows of zeros."""
        self.sizes.append(len(pixels))
        return np.zeros((len(pixels) - self._lost_rows, 1, 6), np.float32)

    def close(self):
        """Nothing is held."""


@pytest.fixture
def model(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_yolo(Head.YOLOV8).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("onnxruntime", OnnxRuntimeEngine), ("openvino", OpenVinoEngine), ("reference", ReferenceEngine)],
)
def test_the_kind_asked_for_comes_back(kind: Kind, expected: type, model: Path) -> None:
    engine = open_engine(model, kind=kind, streams=3, max_batch=1)
    assert isinstance(engine, expected)
    assert engine.streams == 3
    engine.close()


def test_auto_takes_one_of_the_runtimes_and_without_a_model_the_reference(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_PROBE_S", 0.0)
    engine = open_engine(model, streams=1, max_batch=1)
    assert isinstance(engine, OnnxRuntimeEngine | OpenVinoEngine)
    engine.close()
    assert isinstance(open_engine(None, max_batch=1), ReferenceEngine)


@pytest.mark.parametrize("kind", ["auto", "onnxruntime", "openvino"])
def test_the_specification_can_be_had_without_an_engine(kind: Kind, model: Path) -> None:
    assert read_spec(model, kind=kind).head is Head.YOLOV8


def test_the_reference_specification_needs_no_file() -> None:
    assert read_spec(None).name == "reference"
    assert read_spec(Path("/nowhere.onnx"), kind="reference").name == "reference"


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_a_runtime_without_a_model_is_an_error(kind: Kind) -> None:
    with pytest.raises(ModelError, match="needs a model"):
        open_engine(None, kind=kind)


@pytest.mark.parametrize("kind", ["auto", "onnxruntime", "openvino"])
def test_a_graph_that_no_runtime_takes_is_an_error_without_internals(kind: Kind, tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOV8)
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot run this model") as caught:
        open_engine(path, kind=kind, streams=1)
    assert "NoSuchOperator" not in caught.value.detail


def with_free_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model as Ultralytics exports it with `dynamic=True`: the output's sizes are not declared."""
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.dim_param = "free"
    return model


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_a_model_that_declares_no_sizes_is_opened(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(with_free_output(tiny_yolo(Head.YOLOV8)).SerializeToString())
    engine = open_engine(path, kind=kind, streams=1, max_batch=1)
    assert engine.spec.head is Head.YOLOV8
    engine.close()


def test_rows_that_are_not_what_the_file_promised_are_found_out(tmp_path: Path) -> None:
    model = with_free_output(tiny_yolo(Head.YOLOV8))
    names = next(entry for entry in model.metadata_props if entry.key == "names")
    names.value = "{0: 'only'}"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"\(\?, 7, 84\).*1 class names"):
        open_engine(path, kind="onnxruntime", streams=1)


def test_a_runtime_that_is_not_installed_is_passed_over(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(opening._CLASSES, "openvino", ("engines.no_such_engine", "Engine"))
    engine = open_engine(model, streams=1, max_batch=1)
    assert isinstance(engine, OnnxRuntimeEngine)
    engine.close()


def test_every_stream_is_warmed_at_every_batch_size() -> None:
    engine = CountingEngine(streams=2)
    warm(engine, [1, 2, 4])
    assert sorted(engine.sizes) == [1, 1, 2, 2, 4, 4]


def test_a_model_that_loses_rows_is_found_out_while_warming() -> None:
    with pytest.raises(ModelError, match="1 rows for 2 pictures"):
        warm(CountingEngine(lost_rows=1), [2])


@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_batch_sizes_double_up_to_the_limit(max_batch: int, sizes: list[int]) -> None:
    assert opening._batch_sizes(max_batch) == sizes


def test_there_is_at_least_one_core() -> None:
    assert available_cores() >= 1
