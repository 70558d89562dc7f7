"""The best engine that opens serves, and says what failed above it."""

from pathlib import Path

import pytest

from app.core.errors import ModelError, SightlineError, UnavailableError
from app.core.ports import Engine
from engines import opening, rungs
from engines.gpu_rungs import gpu_rungs, open_tensorrt, plans_beside
from engines.opening import open_engine
from engines.reference import ReferenceEngine
from engines.rungs import DegradedEngine, Rung, open_best
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


def test_what_stands_in_says_why_and_is_counted() -> None:
    rungs.failures.clear()
    engine = ReferenceEngine()
    ladder = [
        broken("a", ModelError("no plan")),
        broken("b", UnavailableError("no GPU")),
        Rung(name="c", open=lambda: engine),
    ]
    found = open_best(ladder)
    assert isinstance(found, DegradedEngine)
    assert found.degraded == "a: no plan; b: no GPU"
    assert (found.spec, found.streams) == (engine.spec, engine.streams)
    assert rungs.failures == {"a": 1, "b": 1}
    found.close()


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


def test_a_machine_whose_gpu_offers_nothing_is_served_by_the_cpu_that_says_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del bench
    rungs.failures.clear()
    monkeypatch.setattr(opening, "cuda_available", lambda: True)  # and then nothing of it can be used
    monkeypatch.setattr(opening, "_PROBE_S", 0.0)
    engine = open_engine(tmp_path / "model.onnx", streams=1, max_batch=1)
    assert isinstance(engine, DegradedEngine)
    assert engine.degraded.startswith("tensorrt: ")
    assert "onnxruntime on the GPU: " in engine.degraded
    assert sum(rungs.failures.values()) == 2
    assert engine.infer(canvases(1)).shape[0] == 1
    engine.close()


def test_a_machine_without_a_gpu_is_not_degraded_and_loads_nothing_of_tensorrts(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del bench
    monkeypatch.setattr(opening, "cuda_available", lambda: False)
    monkeypatch.setattr(opening, "_PROBE_S", 0.0)
    engine = open_engine(tmp_path / "model.onnx", streams=1, max_batch=1)
    assert not isinstance(engine, DegradedEngine)
    engine.close()


def test_tensorrt_asked_for_by_name_stands_alone_and_is_no_silent_cpu(bench: Bench, tmp_path: Path) -> None:
    assert [rung.name for rung in gpu_rungs(bench.file, tmp_path, max_batch=1)] == [
        "tensorrt",
        "onnxruntime on the GPU",
    ]
    with pytest.raises(UnavailableError):
        open_engine(tmp_path / "model.onnx", kind="tensorrt")
