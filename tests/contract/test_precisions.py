"""The gate of smaller precisions: on streets never seen, they are as good as the model that they are made from."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from app.core.errors import ModelError
from engines.accuracy import HELD_OUT_SEED, MAX_LOSS, Accuracy, LabelledFrame, accuracy, check_accuracy, farm_frames
from engines.card import parse_card
from engines.fp8_graph import to_fp8
from engines.model_file import ModelFile, read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.quantize import CALIBRATION_SEED
from engines.quantized_graph import to_fp16, to_int8

STREET = Path(__file__).parents[2] / "engines" / "models" / "street" / "1.0.0" / "model.onnx"
STREETS = 30
CALIBRATION_STREETS = 22


@pytest.fixture(scope="module")
def street():
    return read_model_file(STREET)


@pytest.fixture(scope="module")
def frames(street: ModelFile):
    return list(farm_frames(street.spec, first_seed=HELD_OUT_SEED, streets=STREETS))


@pytest.fixture(scope="module")
def reference(street: ModelFile, frames: list[LabelledFrame]):
    return accuracy(OnnxRuntimeEngine(street, streams=1), frames)


@pytest.fixture(scope="module")
def int8(street: ModelFile):
    calibration = farm_frames(street.spec, first_seed=CALIBRATION_SEED, streets=CALIBRATION_STREETS)
    return to_int8(street, (frame.rgb for frame in calibration))


def measured(graph: ModelProto, frames: list[LabelledFrame], folder: Path) -> Accuracy:
    path = folder / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    return accuracy(OnnxRuntimeEngine(read_model_file(path), streams=1), frames)


def test_the_original_is_as_good_here_as_its_card_says(reference: Accuracy) -> None:
    card = parse_card(STREET.with_name("card.json").read_bytes())
    assert reference.objects > 500
    assert abs(reference.map50_95 - card.quality["mAP50_95"]) <= 0.02


def test_fp16_passes_the_gate(
    street: ModelFile, frames: list[LabelledFrame], reference: Accuracy, tmp_path: Path
) -> None:
    graph = to_fp16(street)
    assert len(graph.SerializeToString()) < 0.55 * len(street.data)
    found = measured(graph, frames, tmp_path)
    check_accuracy(found, reference)
    assert abs(found.map50_95 - reference.map50_95) <= MAX_LOSS == 0.02


def test_int8_passes_the_gate(
    int8: ModelProto, street: ModelFile, frames: list[LabelledFrame], reference: Accuracy, tmp_path: Path
) -> None:
    assert len(int8.SerializeToString()) < 0.3 * len(street.data)
    found = measured(int8, frames, tmp_path)
    check_accuracy(found, reference)
    assert abs(found.map50_95 - reference.map50_95) <= MAX_LOSS == 0.02


def test_fp8_passes_the_gate_on_the_cpu(
    street: ModelFile, frames: list[LabelledFrame], reference: Accuracy, tmp_path: Path
) -> None:
    calibration = farm_frames(street.spec, first_seed=CALIBRATION_SEED, streets=CALIBRATION_STREETS)
    graph = to_fp8(street, (frame.rgb for frame in calibration))
    assert len(graph.SerializeToString()) < 0.45 * len(street.data)
    found = measured(graph, frames, tmp_path)
    check_accuracy(found, reference)
    assert abs(found.map50_95 - reference.map50_95) <= MAX_LOSS == 0.02
    with pytest.raises(ModelError, match="mAP50-95 is"):  # a control: ranges as another preprocessor would give
        check_accuracy(measured(with_scales(graph, factor=1 / 64), frames, tmp_path), reference)


def with_scales(graph: ModelProto, *, factor: float) -> ModelProto:
    """Return the model with every activation's scale multiplied, as if calibrated on other pictures than are served."""
    graph = onnx.load_from_string(graph.SerializeToString())
    scales = {node.input[1] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight) * np.float32(factor if weight.name in scales else 1)
        weight.CopyFrom(numpy_helper.from_array(values.astype(numpy_helper.to_array(weight).dtype), weight.name))
    return graph


def test_the_gate_refuses_an_int8_calibrated_on_pictures_scaled_otherwise(
    int8: ModelProto, frames: list[LabelledFrame], reference: Accuracy, tmp_path: Path
) -> None:
    """Positive control: ranges of a quarter, which is what a preprocessor other than the serving one leads to."""
    found = measured(with_scales(int8, factor=0.25), frames, tmp_path)
    with pytest.raises(ModelError, match="mAP50-95 is"):
        check_accuracy(found, reference)
