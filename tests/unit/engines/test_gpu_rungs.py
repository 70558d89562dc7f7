"""The best engine that opens serves, and says what failed above it."""

from pathlib import Path

import pytest

from app.core.errors import ModelError, SightlineError, UnavailableError
from app.core.ports import Engine
from engines import opening
from engines.gpu_rungs import gpu_rungs, open_tensorrt, plans_beside
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.opening import open_engine
from engines.openvino_engine import OpenVinoEngine
from engines.reference import ReferenceEngine
from engines.rungs import Rung, open_best
from tests.unit.engines.gpu_parts import Bench, canvases, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def broken(name: str, error: SightlineError) -> Rung:
    def fail() -> Engine:
        raise error

    return Rung(name=name, open=fail)


def test_the_first_rung_that_opens_serves_unmarked() -> None:
    engine = ReferenceEngine()
    assert open_best([Rung(name="first", open=lambda: engine), broken("second", ModelError("never asked"))]) is engine


def test_the_next_one_stands_in_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    engine = ReferenceEngine()
    ladder = [
        broken("a", ModelError("no plan")),
        broken("b", UnavailableError("no GPU")),
        Rung(name="c", open=lambda: engine),
    ]
    assert open_best(ladder) is engine
    assert caplog.messages == ["a cannot be had: no plan", "b cannot be had: no GPU"]


def test_where_nothing_opens_the_last_words_come_through() -> None:
    with pytest.raises(ModelError, match="CPU refuses"):
        open_best([broken("a", UnavailableError("no GPU")), broken("b", ModelError("the CPU refuses"))])


def test_the_plan_beside_the_model_is_taken_and_none_is_built_on_the_way(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match="sightline engine build"):
        open_tensorrt(bench.file, model, max_batch=8, bindings=bench.bindings)
    built = bench.build()
    plans_beside(model).put(built.key, built.data)
    engine = open_tensorrt(bench.file, model, max_batch=8, bindings=bench.bindings)
    assert engine.infer(canvases(4))[0, 0, 0] == 4
    engine.close()
    assert bench.left_over() == {}


def test_a_plan_of_another_gpu_has_another_key_and_is_not_found(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    built = bench.build()
    plans_beside(model).put(built.key, built.data)
    bench.gpu.name = "Another GPU"
    with pytest.raises(ModelError, match="no plan for this GPU"):
        open_tensorrt(bench.file, model, max_batch=8, bindings=bench.bindings)


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_machine_whose_gpu_offers_nothing_is_served_by_the_cpu_as_one_without(
    has_gpu: bool,  # noqa: FBT001  pytest's way
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del bench
    monkeypatch.setattr(opening, "cuda_available", lambda: has_gpu)  # and then nothing of it can be used
    monkeypatch.setattr(opening, "_PROBE_S", 0.0)
    engine = open_engine(tmp_path / "model.onnx", streams=1, max_batch=1)
    assert isinstance(engine, OpenVinoEngine | OnnxRuntimeEngine)
    tried = [message.split(" cannot be had")[0] for message in caplog.messages if "cannot be had" in message]
    assert tried == ["tensorrt", "onnxruntime on the GPU"] * has_gpu
    engine.close()


def test_tensorrt_asked_for_by_name_stands_alone_and_is_no_silent_cpu(bench: Bench, tmp_path: Path) -> None:
    assert [rung.name for rung in gpu_rungs(bench.file, tmp_path, max_batch=1)] == [
        "tensorrt",
        "onnxruntime on the GPU",
    ]
    with pytest.raises(UnavailableError):
        open_engine(tmp_path / "model.onnx", kind="tensorrt")
