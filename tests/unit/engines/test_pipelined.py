"""A model whose parts lie in several places is one engine, and its parts are at work at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from app.core.errors import ModelError, UnavailableError
from app.core.model import Head
from engines.model_file import ModelFile, read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.pipelined import PipelinedEngine
from engines.split import Split, split
from engines.sub_model import SubModel, Tensors
from engines.tiny_yolo import tiny_yolo
from tests.builders import make_rgb
from tests.held_part import GATE, HeldPart, held

SIZE = 3
SIDE_PX = 64


def model_at(folder: Path, *, head: Head = Head.YOLOV8, batch: int | None = None) -> tuple[ModelFile, Split]:
    data = tiny_yolo(head, size_px=SIDE_PX, batch=batch).SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    return read_model_file(folder / "model.onnx"), split(data, parts=SIZE)


def local_pipeline(
    file: ModelFile, made: Split, *, in_flight: int, wrap: Callable = lambda part, _rank: part
) -> PipelinedEngine:
    """All parts in this process, each taking one batch at a time."""
    opened = zip(made.data, made.parts.parts, strict=True)
    parts = [wrap(SubModel(data, part), rank) for rank, (data, part) in enumerate(opened)]
    turns = [Lock() for _ in parts]

    def rest(tensors: Tensors) -> Tensors:
        for part, turn in zip(parts[1:], turns[1:], strict=True):
            with turn:
                tensors = part.run(tensors)
        return tensors

    return PipelinedEngine(file, parts[0], rest=rest, in_flight=in_flight)


def pictures(count: int):
    return [make_rgb(width_px=SIDE_PX, height_px=SIDE_PX, seed=seed) for seed in range(count)]


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("batch", [None, 2])
def test_it_computes_the_bits_of_the_whole(tmp_path: Path, head: Head, batch: int | None) -> None:
    file, made = model_at(tmp_path, head=head, batch=batch)
    whole, engine = OnnxRuntimeEngine(file, streams=1), local_pipeline(file, made, in_flight=1)
    assert engine.spec == whole.spec
    for count in (1, 3):
        np.testing.assert_array_equal(engine.infer(pictures(count)), whole.infer(pictures(count)))
    engine.close()


def at_once(engine: PipelinedEngine, calls: int):
    """The rows of so many calls made on as many threads as the engine has streams."""
    with ThreadPoolExecutor(engine.streams) as threads:
        return list(threads.map(engine.infer, [[picture] for picture in pictures(calls)]))


def test_all_parts_are_at_work_at_once(tmp_path: Path) -> None:
    file, made = model_at(tmp_path)
    (tmp_path / GATE).touch()
    hold = lambda part, rank: HeldPart(part, rank=rank, size=SIZE, folder=tmp_path)  # noqa: E731
    rows = at_once(local_pipeline(file, made, in_flight=SIZE, wrap=hold), 2 * SIZE)
    assert held(tmp_path) == list(range(SIZE))
    whole = OnnxRuntimeEngine(file, streams=1)
    np.testing.assert_array_equal(np.concatenate(rows), whole.infer(pictures(2 * SIZE)))


def test_parts_that_work_one_after_the_other_are_noticed(tmp_path: Path) -> None:
    file, made = model_at(tmp_path)
    (tmp_path / GATE).touch()
    hold = lambda part, rank: HeldPart(part, rank=rank, size=SIZE, folder=tmp_path, patience_s=0.1)  # noqa: E731
    with pytest.raises(ModelError, match="not at work at once"):
        at_once(local_pipeline(file, made, in_flight=SIZE - 1, wrap=hold), 2 * SIZE)


def test_the_first_part_takes_one_batch_at_a_time(tmp_path: Path) -> None:
    file, made = model_at(tmp_path)
    busy: list[int] = []
    seen: list[int] = []

    class Counting:
        def __init__(self, part: SubModel) -> None:
            self._part = part

        def run(self, tensors: Tensors) -> Tensors:
            busy.append(1)
            seen.append(len(busy))
            time.sleep(0)  # lets another thread in, if it may
            rows = self._part.run(tensors)
            busy.pop()
            return rows

    at_once(local_pipeline(file, made, in_flight=4, wrap=lambda part, rank: part if rank else Counting(part)), 8)
    assert seen == [1] * 8


def test_what_a_part_on_the_way_raises_comes_back(tmp_path: Path) -> None:
    file, made = model_at(tmp_path)

    def gone(_tensors: Tensors) -> Tensors:
        raise UnavailableError

    engine = PipelinedEngine(file, SubModel(made.data[0], made.parts.parts[0]), rest=gone, in_flight=1)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            engine.infer(pictures(1))


def test_pictures_of_another_size_and_none_at_all_are_refused(tmp_path: Path) -> None:
    engine = local_pipeline(*model_at(tmp_path), in_flight=1)
    for pixels in ([], [make_rgb(width_px=32, height_px=32)]):
        with pytest.raises(ModelError):
            engine.infer(pixels)
