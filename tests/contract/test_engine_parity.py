"""The runtimes agree on what is to be seen, in bfloat16 too."""

from pathlib import Path

import numpy as np
import pytest

from app.core.frame import Detections, Frame
from app.core.model import Head
from app.core.ports import Engine
from app.vision.letterbox import fit
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


def found_by(engine: Engine, frames: list[Frame], *, conf: float):
    inputs = [
        fit(frame, width_px=engine.spec.input_width_px, height_px=engine.spec.input_height_px) for frame in frames
    ]
    rows = [engine.infer(item.canvases) for item in inputs]
    return [
        detections(row, item, engine.spec, thresholds=Thresholds(conf=conf))
        for row, item in zip(rows, inputs, strict=True)
    ]


def differences(seen: Detections, other: Detections):
    """For each object of one engine: score and edge differences to the nearest of its class by the other engine."""
    for box, score, label in zip(seen.xyxy, seen.score, seen.label, strict=True):
        same = np.flatnonzero(other.label == label)
        assert same.size, f"only one engine sees a {label} of score {score:.3f}"
        edges = np.abs(other.xyxy[same] - box).max(axis=1)
        nearest = edges.argmin()
        yield abs(float(other.score[same[nearest]] - score)), float(edges[nearest])


def assert_same_objects(first: Engine, second: Engine, frames: list[Frame], *, conf: float):
    """Every object of one engine is among the other's, whose threshold is lower by the tolerance; and vice versa."""
    count = 0
    for one, other in ((first, second), (second, first)):
        sure = found_by(one, frames, conf=conf + MAX_SCORE_DIFFERENCE)
        possible = found_by(other, frames, conf=conf)
        for seen, among in zip(sure, possible, strict=True):
            scale = one.spec.input_width_px / max(seen.source_width_px, seen.source_height_px)
            for score_difference, edge_px in differences(seen, among):
                assert score_difference <= MAX_SCORE_DIFFERENCE
                assert edge_px * scale * 640 / one.spec.input_width_px <= MAX_EDGE_DIFFERENCE_PX
                count += 1
    return count


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
    count = assert_same_objects(*pair(STREET), frames, conf=0.3)
    assert count > 2 * len(frames)


def test_the_comparison_notices_a_moved_box_and_a_changed_score(tmp_path: Path) -> None:
    """Positive control: another network is not the same."""
    engines = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.onnx"
        path.write_bytes(tiny_yolo(Head.YOLOV8, seed=seed).SerializeToString())
        engines.append(OnnxRuntimeEngine(read_model_file(path), streams=1))
    with pytest.raises(AssertionError):
        assert_same_objects(*engines, [make_frame()], conf=0.1)
    assert assert_same_objects(engines[0], engines[0], [make_frame()], conf=0.1) > 0
