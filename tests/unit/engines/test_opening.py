"""Which engine comes back, and that it is warm."""

from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelError
from app.core.model import Head
from engines import opening
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import available_cores, open_engine, read_spec, warm
from engines.openvino_engine import OpenVinoEngine
from engines.reference import ReferenceEngine
from engines.tiny_yolo import tiny_yolo


class CountingEngine:
    """Notes the batch sizes that it is given; `lost_rows` rows fewer come back."""

    def __init__(self, *, streams=1, lost_rows=0):
        self.spec = ReferenceEngine(width_px=16, height_px=16).spec
        self.streams = streams
        self.sizes = []
        self._lost_rows = lost_rows

    def infer(self, pixels):
        self.sizes.append(len(pixels))
        return np.zeros((len(pixels) - self._lost_rows, 1, 6), np.float32)

    def close(self):
        pass


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_yolo(Head.YOLOV8).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("onnxruntime", OnnxRuntimeEngine), ("openvino", OpenVinoEngine), ("reference", ReferenceEngine)],
)
def test_the_kind_asked_for_comes_back(kind, expected, model):
    engine = open_engine(model, kind=kind, streams=3, max_batch=1)
    assert isinstance(engine, expected)
    assert engine.streams == 3
    engine.close()


def test_auto_takes_one_of_the_runtimes_and_without_a_model_the_reference(model, monkeypatch):
    monkeypatch.setattr(opening, "_PROBE_S", 0.0)
    engine = open_engine(model, streams=1, max_batch=1)
    assert isinstance(engine, OnnxRuntimeEngine | OpenVinoEngine)
    engine.close()
    assert isinstance(open_engine(None, max_batch=1), ReferenceEngine)


@pytest.mark.parametrize("kind", ["auto", "onnxruntime", "openvino"])
def test_the_specification_can_be_had_without_an_engine(kind, model):
    assert read_spec(model, kind=kind).head is Head.YOLOV8


def test_the_reference_specification_needs_no_file():
    assert read_spec(None).name == "reference"
    assert read_spec(Path("/nowhere.onnx"), kind="reference").name == "reference"


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_a_runtime_without_a_model_is_an_error(kind):
    with pytest.raises(ModelError, match="needs a model"):
        open_engine(None, kind=kind)


@pytest.mark.parametrize("kind", ["auto", "onnxruntime", "openvino"])
def test_a_graph_that_no_runtime_takes_is_an_error_without_internals(kind, tmp_path):
    model = tiny_yolo(Head.YOLOV8)
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot run this model") as caught:
        open_engine(path, kind=kind, streams=1)
    assert "NoSuchOperator" not in caught.value.detail


def test_a_runtime_that_is_not_installed_is_passed_over(model, monkeypatch):
    monkeypatch.setitem(opening._CLASSES, "openvino", ("engines.no_such_engine", "Engine"))
    engine = open_engine(model, streams=1, max_batch=1)
    assert isinstance(engine, OnnxRuntimeEngine)
    engine.close()


def test_every_stream_is_warmed_at_every_batch_size():
    engine = CountingEngine(streams=2)
    warm(engine, [1, 2, 4])
    assert sorted(engine.sizes) == [1, 1, 2, 2, 4, 4]


def test_a_model_that_loses_rows_is_found_out_while_warming():
    with pytest.raises(ModelError, match="1 rows for 2 pictures"):
        warm(CountingEngine(lost_rows=1), [2])


@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_batch_sizes_double_up_to_the_limit(max_batch, sizes):
    assert opening._batch_sizes(max_batch) == sizes


def test_there_is_at_least_one_core():
    assert available_cores() >= 1
