"""The runtimes agree on what is to be seen, in bfloat16 too."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.frame import Boxes, Detections, Frame, ModelInput
from app.core.model import Head
from app.core.ports import Engine
from app.vision.heads import Candidates, candidates
from app.vision.letterbox import fit, undo
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


def found_by(engine: Engine, inputs: list[ModelInput], *, conf: float) -> list[Detections]:
    thresholds = Thresholds(conf=conf)
    return [detections(engine.infer(item.canvases), item, engine.spec, thresholds=thresholds) for item in inputs]


def assert_same_objects(first: Engine, second: Engine, inputs: list[ModelInput], *, conf: float) -> int:
    """What either engine is sure to see the other sees too: scores within 0.02, edges within 1 px; the sightings.

    Of two cells that tie on one object within that tolerance, either may win the suppression: the other engine's object
    may then be the one that the first engine's losing cell describes.
    """
    count = 0
    for one, other in ((first, second), (second, first)):
        sure = found_by(one, inputs, conf=conf + MAX_SCORE_DIFFERENCE)
        seen_by_other = found_by(other, inputs, conf=conf)
        for item, seen, among in zip(inputs, sure, seen_by_other, strict=True):
            cells = cells_of(one, item)
            edge_px = MAX_EDGE_DIFFERENCE_PX * max(item.source_width_px, item.source_height_px) / 640
            for box, score, label in zip(seen.xyxy, seen.score, seen.label, strict=True):
                ties = tied_with(box, score, label, cells)
                assert is_among(ties, label, among, edge_px=edge_px), (box, score, label)
            count += len(seen.score)
    return count


def cells_of(engine: Engine, item: ModelInput) -> Candidates:
    """Every cell of the network's answer, in source pixels."""
    cells = candidates(engine.infer(item.canvases)[0], engine.spec, min_score=0.01)
    return cells._replace(xyxy_model=undo(cells.xyxy_model, item.letterboxes[0]))


def tied_with(box: NDArray[np.float32], score: float, label: int, cells: Candidates) -> Candidates:
    """The cells that describe the same object and whose score ties with the winner's."""
    same = (cells.label == label) & (np.abs(cells.score - score) <= 2 * MAX_SCORE_DIFFERENCE)
    near = np.array([best_iou(box, other[None]) >= MIN_IOU for other in cells.xyxy_model], dtype=bool)
    return Candidates(*(column[same & near] for column in cells))


def is_among(ties: Candidates, label: int, found: Detections, *, edge_px: float) -> bool:
    """Whether one of the tied cells is, within the tolerances, an object that was found."""
    edges_px = np.abs(ties.xyxy_model[:, None] - found.xyxy[None]).max(axis=2)
    scores = np.abs(ties.score[:, None] - found.score[None])
    return bool(((edges_px <= edge_px) & (scores <= MAX_SCORE_DIFFERENCE) & (found.label == label)).any())


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
    assert assert_same_objects(*engines, inputs, conf=0.25) > 4 * len(frames)


def test_the_comparison_notices_another_network(tmp_path: Path) -> None:
    """Positive control; and a network is the same as itself."""
    engines = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.onnx"
        path.write_bytes(tiny_yolo(Head.YOLOV8, seed=seed).SerializeToString())
        engines.append(OnnxRuntimeEngine(read_model_file(path), streams=1))
    inputs = inputs_for(engines[0], [make_frame()])
    assert assert_same_objects(engines[0], engines[0], inputs, conf=0.1) > 0
    with pytest.raises(AssertionError):
        assert_same_objects(*engines, inputs, conf=0.1)
