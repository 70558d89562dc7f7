"""Engines that compute nonsense are found out before they answer anybody."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from app.core.errors import ModelError
from app.core.model import Head
from app.core.ports import Engine, RawOutput
from engines.golden import GoldenObject, golden_check, golden_objects, golden_pictures
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.openvino_engine import OpenVinoEngine
from engines.reference import ReferenceEngine
from engines.tiny_yolo import tiny_yolo

SIDE_PX = 64
RUNTIMES: dict[str, type[OnnxRuntimeEngine | OpenVinoEngine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
}


class WarpedEngine(ReferenceEngine):
    """Sees what the reference engine sees, and `warp` makes something else of it."""

    def __init__(self, warp: Callable[[RawOutput], RawOutput]) -> None:
        super().__init__(width_px=SIDE_PX, height_px=SIDE_PX)
        self._warp = warp

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        return self._warp(super().infer(pixels))


def moved(rows: RawOutput, *, x_px: float = 0.0, score: float = 0.0) -> RawOutput:
    """Everything that was found, elsewhere or less sure."""
    is_there = rows[..., 4] > 0
    rows[..., 0] += x_px * is_there
    rows[..., 2] += x_px * is_there
    rows[..., 4] += score * is_there
    return rows


def opened(model: onnx.ModelProto, folder: Path, runtime: str) -> Engine:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return RUNTIMES[runtime](read_model_file(path), streams=1)


def spoilt(model: onnx.ModelProto, spoil: Callable[[NDArray[np.float32]], object]) -> onnx.ModelProto:
    """The model with the weights of its convolutions changed."""
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        if values.ndim == 4:
            spoil(values)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model


def put_nan(values: NDArray[np.float32]) -> None:
    values[0] = np.nan


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_sound_model_passes_with_and_without_its_golden_outputs(runtime: str, head: Head, tmp_path: Path) -> None:
    engine = opened(tiny_yolo(head), tmp_path, runtime)
    golden_check(engine)
    golden_check(engine, golden_objects(engine))


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_that_are_no_numbers_are_found_out(runtime: str, head: Head, tmp_path: Path) -> None:
    engine = opened(spoilt(tiny_yolo(head), put_nan), tmp_path, runtime)
    with pytest.raises(ModelError):
        golden_check(engine)


def test_other_weights_are_found_out_by_the_golden_outputs(tmp_path: Path) -> None:
    golden = golden_objects(opened(tiny_yolo(Head.YOLOV8), tmp_path, "onnxruntime"))
    other = opened(spoilt(tiny_yolo(Head.YOLOV8), lambda values: values.__imul__(0.5)), tmp_path, "onnxruntime")
    golden_check(other)
    with pytest.raises(ModelError, match="golden outputs"):
        golden_check(other, golden)


@pytest.mark.parametrize(
    ("warp", "words"),
    [
        (lambda rows: rows * np.nan, "finite"),
        (lambda rows: np.full_like(rows, np.inf), "finite"),
        (np.zeros_like, "same answer"),
        (lambda rows: moved(rows, score=5.0), "probabilities"),
        (lambda rows: rows[..., :5], "not the output"),
        (lambda rows: np.concatenate([rows, rows]), "2 rows"),
    ],
)
def test_answers_that_no_model_gives_are_found_out(warp: Callable[[RawOutput], RawOutput], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        golden_check(WarpedEngine(warp))


@pytest.mark.parametrize(
    ("x_px", "score", "is_same"), [(0.05, 0.0, True), (0.0, -0.015, True), (0.5, 0.0, False), (0.0, -0.03, False)]
)
def test_golden_outputs_allow_a_pixel_at_640_and_two_hundredths_of_score(
    x_px: float, score: float, *, is_same: bool
) -> None:
    golden = golden_objects(WarpedEngine(lambda rows: rows))
    assert passes(WarpedEngine(lambda rows: moved(rows, x_px=x_px, score=score)), golden) == is_same


def passes(engine: Engine, golden: Sequence[GoldenObject]) -> bool:
    try:
        golden_check(engine, golden)
    except ModelError:
        return False
    return True


def test_an_object_too_much_or_of_another_class_is_found_out() -> None:
    engine = WarpedEngine(lambda rows: rows)
    golden = golden_objects(engine)
    assert passes(engine, golden)
    assert not passes(engine, golden[1:])
    assert not passes(engine, [replace(golden[0], label="no such class"), *golden[1:]])
    assert not passes(engine, [replace(found, label=golden[0].label) for found in golden])
    assert not passes(engine, [*golden, replace(golden[0], picture=99)])


def test_golden_pictures_fit_the_canvas_and_differ() -> None:
    spec = ReferenceEngine(width_px=96, height_px=64).spec
    pictures = golden_pictures(spec)
    assert {picture.shape for picture in pictures} == {(64, 96, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
