"""What every engine owes its callers, asked of each."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.frame import Pixels
from app.core.model import Head
from app.core.ports import Engine
from app.vision.heads import candidates
from engines.hosted import open_hosted_engine
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import Kind
from engines.openvino_engine import OpenVinoEngine
from engines.reference import ReferenceEngine
from engines.tiny_yolo import tiny_yolo

SIDE_PX = 64


def canvases(count: int):
    """Blocks of strong colours, each canvas another, read-only as Ray hands them over."""
    random = np.random.default_rng(7)
    pixels = [np.kron(random.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(count)]
    for canvas in pixels:
        canvas.flags.writeable = False
    return pixels


def open_reference(_folder: Path):
    return ReferenceEngine(width_px=SIDE_PX, height_px=SIDE_PX, streams=2)


def opener(engine: type[OnnxRuntimeEngine | OpenVinoEngine], head: Head, *, batch: int | None = None):
    def open_it(folder: Path) -> Engine:
        path = folder / "model.onnx"
        path.write_bytes(tiny_yolo(head, size_px=SIDE_PX, batch=batch).SerializeToString())
        return engine(read_model_file(path), streams=2)

    return open_it


def hosted(kind: Kind, head: Head, *, batch: int | None = None):
    """In a process of its own, with lanes that eight canvases do not fit into at once."""

    def open_it(folder: Path) -> Engine:
        path = folder / "model.onnx"
        path.write_bytes(tiny_yolo(head, size_px=SIDE_PX, batch=batch).SerializeToString())
        return open_hosted_engine(path, kind=kind, streams=2, max_batch=3)

    return open_it


OPENERS = {"reference": open_reference} | {
    f"{name}-{head}-batch-{batch or 'any'}": opener(engine, head, batch=batch)
    for name, engine in {"onnxruntime": OnnxRuntimeEngine, "openvino": OpenVinoEngine}.items()
    for head, batch in (
        (Head.YOLOV8, None),
        (Head.YOLOV8, 1),
        (Head.YOLOV5, 3),
        (Head.YOLOX, None),
        (Head.END_TO_END, 8),
    )
}
OPENERS |= {
    "hosted-onnxruntime": hosted("onnxruntime", Head.YOLOV8),
    "hosted-openvino-batch-8": hosted("openvino", Head.END_TO_END, batch=8),
}


@pytest.fixture(params=OPENERS, scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Each engine is opened once: no call may spoil the next one's answer."""
    opened = OPENERS[request.param](tmp_path_factory.mktemp("model"))
    yield opened
    opened.close()


@pytest.fixture
def singles(engine: Engine):
    """The rows of eight canvases, each inferred alone."""
    return np.stack([engine.infer([canvas])[0] for canvas in canvases(8)])


def test_different_pictures_give_different_rows(singles: NDArray[np.float32]) -> None:
    assert all((singles[0] != row).any() for row in singles[1:])


@pytest.mark.parametrize("size", range(1, 9))
def test_a_batch_equals_its_canvases_alone_and_row_i_belongs_to_canvas_i(
    size: int, engine: Engine, singles: NDArray[np.float32]
) -> None:
    rows = engine.infer(canvases(8)[:size])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, singles[:size], rtol=1e-5, atol=1e-5)


def test_the_order_of_the_batch_is_the_order_of_the_rows(engine: Engine, singles: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(engine.infer(canvases(8)[::-1]), singles[::-1], rtol=1e-5, atol=1e-5)


def test_many_threads_get_their_own_rows(engine: Engine, singles: NDArray[np.float32]) -> None:
    pixels = canvases(8)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda turn: engine.infer([pixels[turn % 8]]), range(200)))
    for turn, answer in enumerate(answers):
        np.testing.assert_allclose(answer[0], singles[turn % 8], rtol=1e-5, atol=1e-5)


def test_an_answer_is_the_callers_own(engine: Engine) -> None:
    pixels = canvases(2)
    first = engine.infer(pixels)
    kept = first.copy()
    engine.infer(pixels[::-1])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(engine.infer(pixels), kept)


def test_views_into_larger_pictures_are_taken(engine: Engine, singles: NDArray[np.float32]) -> None:
    pixels = [np.pad(canvas, ((0, 0), (3, 5), (0, 0)))[:, 3:-5] for canvas in canvases(2)]
    np.testing.assert_allclose(engine.infer(pixels), singles[:2], rtol=1e-5, atol=1e-5)


def test_an_empty_batch_has_no_rows(engine: Engine, singles: NDArray[np.float32]) -> None:
    assert engine.infer([]).shape == (0, *singles.shape[1:])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((SIDE_PX, SIDE_PX + 1, 3), np.uint8),
        np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8),
        np.zeros((SIDE_PX, SIDE_PX, 3), np.float32),
    ],
)
def test_a_canvas_of_another_shape_or_type_is_refused_and_the_engine_lives_on(
    wrong: Pixels, engine: Engine, singles: NDArray[np.float32]
) -> None:
    with pytest.raises(ModelError, match="canvases"):
        engine.infer([canvases(1)[0], wrong])
    np.testing.assert_allclose(engine.infer(canvases(1)), singles[:1], rtol=1e-5, atol=1e-5)


def test_the_rows_are_laid_out_as_the_specification_says(engine: Engine, singles: NDArray[np.float32]) -> None:
    found = candidates(singles[0], engine.spec, min_score=0.3)
    assert found.xyxy_model.shape == (len(found.score), 4)
    assert len(found.score) > 0
    assert found.label.max() < len(engine.spec.labels)


def test_two_streams_were_asked_for_and_two_are_offered(engine: Engine) -> None:
    assert engine.streams == 2
