"""Golden outputs of the bundled model: they hold from runtime to runtime, and in a process of the model's own."""

from contextlib import closing
from pathlib import Path

import pytest
from onnx import load_model, numpy_helper, save_model

from app.core.errors import ModelError
from engines.golden import GoldenObject, golden_check, golden_objects
from engines.hosted import open_hosted_engine
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import Kind
from engines.openvino_engine import OpenVinoEngine

STREET = Path(__file__).parents[2] / "engines" / "models" / "street" / "1.0.0" / "model.onnx"


@pytest.fixture(scope="module")
def golden() -> tuple[GoldenObject, ...]:
    found = golden_objects(OnnxRuntimeEngine(read_model_file(STREET), streams=1))
    assert len(found) >= 3
    return found


def test_golden_outputs_of_one_runtime_hold_for_the_other(golden: tuple[GoldenObject, ...]) -> None:
    golden_check(OpenVinoEngine(read_model_file(STREET), streams=1), golden)


def test_golden_outputs_hold_in_a_process_of_its_own(golden: tuple[GoldenObject, ...]) -> None:
    with closing(open_hosted_engine(STREET, kind="onnxruntime", streams=1, max_batch=1)) as engine:
        golden_check(engine, golden)


@pytest.mark.parametrize(("kind", "number"), [("onnxruntime", 0), ("onnxruntime", -1), ("openvino", 0)])
def test_weights_that_are_no_numbers_are_found_out_in_a_process_of_their_own(
    kind: Kind, number: int, tmp_path: Path
) -> None:
    """One number of one convolution, the first or the last."""
    model = load_model(STREET)
    weights = [weight for weight in model.graph.initializer if len(weight.dims) == 4]
    values = numpy_helper.to_array(weights[number]).copy()
    values.flat[0] = float("nan")
    weights[number].CopyFrom(numpy_helper.from_array(values, weights[number].name))
    path = tmp_path / "model.onnx"
    save_model(model, str(path))
    engine = open_hosted_engine(path, kind=kind, streams=1, max_batch=1)
    with closing(engine), pytest.raises(ModelError):
        golden_check(engine)


def test_a_layer_that_is_scaled_is_found_out(golden: tuple[GoldenObject, ...], tmp_path: Path) -> None:
    """All numbers stay numbers; only what was seen says that these are not the weights."""
    model = load_model(STREET)
    weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.3, weight.name))
    path = tmp_path / "model.onnx"
    save_model(model, str(path))
    engine = OnnxRuntimeEngine(read_model_file(path), streams=1)
    golden_check(engine)
    with pytest.raises(ModelError, match="golden outputs"):
        golden_check(engine, golden)
