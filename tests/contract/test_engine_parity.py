"""The runtimes agree on what is to be seen, in bfloat16 too."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.frame import Boxes, Detections, Frame, ModelInput
from app.core.model import Head
from app.core.ports import Engine
from app.vision.heads import candidates
from app.vision.letterbox import fit
from app.vision.nms import areas
from app.vision.postprocess import Thresholds, detections
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.openvino_engine import OpenVinoEngine
from engines.tiny_yolo import tiny_yolo
from load_tests.camfarm import Camera, Scene, render
from tests.builders import make_frame

STREET = Path(__file__).parents[2] / "engines" / "models" / "street" / "1.0.0" / "model.onnx"
MAX_SCORE_DIFFERENCE = 0.02
MAX_EDGE_DIFFERENCE_PX = 1.0
"""At a canvas of 640 px."""
MIN_IOU = 0.7


def inputs_for(engine: Engine, frames: list[Frame]) -> list[ModelInput]:
    return [fit(frame, width_px=engine.spec.input_width_px, height_px=engine.spec.input_height_px) for frame in frames]


def assert_same_rows(first: Engine, second: Engine, inputs: list[ModelInput], *, conf: float) -> int:
    """Every cell that either engine scores over `conf` has the same score and box in both; the number of such cells."""
    count = 0
    for item in inputs:
        one, other = (
            candidates(engine.infer(item.canvases)[0], engine.spec, min_score=-1) for engine in (first, second)
        )
        sure = np.maximum(one.score, other.score) > conf
        edges_px = np.abs(one.xyxy_model - other.xyxy_model)[sure] * 640 / first.spec.input_width_px
        assert np.abs(one.score - other.score)[sure].max(initial=0) <= MAX_SCORE_DIFFERENCE
        assert edges_px.max(initial=0) <= MAX_EDGE_DIFFERENCE_PX
        assert (one.label == other.label)[one.score > 0.5].all()
        count += int(sure.sum())
    return count


def found_by(engine: Engine, inputs: list[ModelInput], *, conf: float) -> list[Detections]:
    thresholds = Thresholds(conf=conf)
    return [detections(engine.infer(item.canvases), item, engine.spec, thresholds=thresholds) for item in inputs]


def assert_same_objects(first: Engine, second: Engine, inputs: list[ModelInput], *, conf: float) -> int:
    """What either engine is sure to see the other sees too, with a threshold lower by the tolerance; the sightings.

    Boxes need only overlap: of two cells that tie on one object within the tolerance, either may win the suppression.
    """
    count = 0
    for one, other in ((first, second), (second, first)):
        sure = found_by(one, inputs, conf=conf + MAX_SCORE_DIFFERENCE)
        for seen, among in zip(sure, found_by(other, inputs, conf=conf), strict=True):
            for box, label in zip(seen.xyxy, seen.label, strict=True):
                assert best_iou(box, among.xyxy[among.label == label]) >= MIN_IOU
            count += len(seen.score)
    return count


def best_iou(box: NDArray[np.float32], others: Boxes) -> float:
    """The largest overlap with any of them; zero if there are none."""
    shared = areas(np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1))
    return float((shared / (areas(box[None]) + areas(others) - shared)).max(initial=0))


def pair(path: Path):
    file = read_model_file(path)
    return OnnxRuntimeEngine(file, streams=1), OpenVinoEngine(file, streams=1)


@pytest.mark.parametrize("head", Head)
def test_openvino_in_float32_computes_what_onnxruntime_computes(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_yolo(head).SerializeToString())
    file = read_model_file(path)
    random = np.random.default_rng(1)
    pixels = [np.kron(random.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(4)]
    exact = OpenVinoEngine(file, streams=1, is_exact=True).infer(pixels)
    np.testing.assert_allclose(exact, OnnxRuntimeEngine(file, streams=1).infer(pixels), rtol=1e-3, atol=2e-3)


def test_both_runtimes_see_the_same_objects_in_the_street() -> None:
    frames = [
        make_frame(rgb=shot.rgb)
        for seed in (901, 902, 903)
        for shot in render(Scene(seed=seed), Camera(width_px=1280, height_px=720, fps=1.0), frames=4)
    ]
    engines = pair(STREET)
    inputs = inputs_for(engines[0], frames)
    assert assert_same_rows(*engines, inputs, conf=0.25) > 10 * len(frames)
    assert assert_same_objects(*engines, inputs, conf=0.25) > 4 * len(frames)


def test_the_comparison_notices_another_network(tmp_path: Path) -> None:
    """Positive control; and a network is the same as itself."""
    engines = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.onnx"
        path.write_bytes(tiny_yolo(Head.YOLOV8, seed=seed).SerializeToString())
        engines.append(OnnxRuntimeEngine(read_model_file(path), streams=1))
    inputs = inputs_for(engines[0], [make_frame()])
    for compare in (assert_same_rows, assert_same_objects):
        assert compare(engines[0], engines[0], inputs, conf=0.1) > 0
        with pytest.raises(AssertionError):
            compare(*engines, inputs, conf=0.1)
