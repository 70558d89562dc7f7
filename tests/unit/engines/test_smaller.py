"""A model on a smaller canvas, where its file leaves the size free, and both sizes behind one engine."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelError
from app.core.model import Head
from app.core.ports import RawOutput
from app.pipeline.engine_slot import Pictures
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import open_engine
from engines.smaller import smaller_file, smaller_spec
from engines.tiny_yolo import tiny_yolo
from engines.two_sizes import TwoSizes
from tests.builders import make_spec
from tests.fakes import FakeEngine


def written(folder: Path, *, size_px: int | None) -> Path:
    """A YOLOX, whose network takes any size unless one is given."""
    path = folder / "model.onnx"
    path.write_bytes(tiny_yolo(Head.YOLOX, size_px=size_px).SerializeToString())
    card = {"head": {"kind": Head.YOLOX.value}, "input": {"width_px": 128, "height_px": 128}}
    path.with_name("card.json").write_text(json.dumps(card), encoding="utf-8")
    return path


@pytest.mark.parametrize(("side_px", "smaller_px"), [(640, 320), (416, 192), (320, 160), (96, 64), (64, 32)])
def test_sides_are_about_half_as_long_and_multiples_of_the_coarsest_stride(side_px: int, smaller_px: int) -> None:
    spec = smaller_spec(make_spec(size_px=side_px))
    assert (spec.input_width_px, spec.input_height_px) == (smaller_px, smaller_px)


def test_what_is_as_small_as_can_be_is_not_made_smaller() -> None:
    with pytest.raises(ModelError, match="as small as can be"):
        smaller_spec(make_spec(size_px=32))


def test_a_model_of_free_size_sees_the_same_on_the_smaller_canvas_as_one_made_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, size_px=None)
    smaller = open_engine(path, kind="onnxruntime", streams=1, max_batch=1, is_smaller=True)
    assert (smaller.spec.input_width_px, smaller.spec.input_height_px) == (64, 64)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    (tmp_path / "fixed").mkdir()
    fixed = OnnxRuntimeEngine(read_model_file(written(tmp_path / "fixed", size_px=64)), streams=1)
    assert np.allclose(smaller.infer([pixels]), fixed.infer([pixels]), atol=1e-4)
    smaller.close()
    fixed.close()


def test_a_model_of_one_size_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="one size only"):
        smaller_file(read_model_file(written(tmp_path, size_px=128)))


def test_the_reference_engine_takes_any_size() -> None:
    engine = open_engine(None, streams=1, is_smaller=True)
    assert engine.spec.input_width_px == 320


class Part(FakeEngine):
    """Notes nothing but which one it is, in its rows."""

    n_restarts = 0
    is_broken = False

    def infer(self, pixels: Pictures) -> RawOutput:
        return np.full((len(pixels), 1, 6), self.spec.input_width_px, np.float32)


def test_each_batch_goes_to_the_engine_of_its_size() -> None:
    full, smaller = Part(size_px=64), Part(size_px=32)
    engine = TwoSizes(full, smaller)
    assert engine.spec is full.spec
    for size_px in (64, 32):
        canvas = np.zeros((size_px, size_px, 3), np.uint8)
        assert engine.infer([canvas, canvas])[1, 0, 0] == size_px
    assert engine.infer([]).shape == (0, 1, 6)


def test_what_befalls_one_of_the_two_befalls_the_engine() -> None:
    full, smaller = Part(size_px=64), Part(size_px=32)
    engine = TwoSizes(full, smaller)
    assert (engine.is_broken, engine.n_restarts) == (False, 0)
    smaller.is_broken, full.n_restarts, smaller.n_restarts = True, 1, 2
    assert (engine.is_broken, engine.n_restarts) == (True, 3)
    engine.close()
    assert (full.is_closed, smaller.is_closed) == (True, True)
