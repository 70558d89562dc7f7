"""`sightline engine`: builds, inspects, times; says in words what it cannot."""

import argparse
import json
from pathlib import Path

import pytest

from app.core.errors import InvalidParameterError, ModelError, UnavailableError
from engines import command
from engines.bench import pictures_per_s
from engines.gpu_rungs import open_tensorrt
from engines.plan_file import with_words
from engines.reference import ReferenceEngine
from tests.unit.engines.gpu_parts import Bench, canvases, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_built_plan_is_what_the_service_then_finds(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, cache, out = tmp_path / "model.onnx", tmp_path / "timings", tmp_path / "out.plan"
    arguments = parsed("build", model, "--timing-cache", cache, "--out", out)
    assert command.build_command(arguments, bindings=bench.bindings) == 0
    key = capsys.readouterr().out.strip()
    assert (len(key), cache.read_bytes()) == (64, b"+1")
    command.build_command(arguments, bindings=bench.bindings)
    assert cache.read_bytes() == b"+1+1"
    engine = open_tensorrt(bench.file, model, max_batch=2, bindings=bench.bindings)
    assert engine.infer(canvases(3))[0, 0, 0] == 3
    engine.close()
    assert bench.left_over() == {}
    capsys.readouterr()
    assert command.run(parsed("inspect", out, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["key"], found["precision"]) == ("plan", key, "fp32")
    assert found["profiles"] == [[[1, 64, 64, 3], [4, 64, 64, 3], [8, 64, 64, 3]]]


def test_other_options_than_the_services_are_remarked_on(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parsed("build", tmp_path / "model.onnx", "--flag", "NO_TF32", "--flag", "STRICT_NANS")
    command.build_command(arguments, bindings=bench.bindings)
    assert "this one differs" in capsys.readouterr().err
    assert bench.trt.built[0]["flags"] == {"STRICT_NANS"}


def test_a_clean_build_leaves_its_own_plan_alone_on_the_disk(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.onnx"
    command.build_command(parsed("build", model, "--workspace-mib", "512"), bindings=bench.bindings)
    command.build_command(parsed("build", model, "--flag", "NO_TF32"), bindings=bench.bindings)
    assert len(list((tmp_path / "plans").iterdir())) == 2
    capsys.readouterr()
    command.build_command(parsed("build", model, "--clean"), bindings=bench.bindings)
    told = capsys.readouterr()
    assert "plans removed: 2" in told.err
    assert [path.stem for path in (tmp_path / "plans").iterdir()] == [told.out.strip()]
    open_tensorrt(bench.file, model, max_batch=2, bindings=bench.bindings).close()


def test_what_cannot_go_together_is_refused(bench: Bench, tmp_path: Path) -> None:
    arguments = parsed("build", tmp_path / "model.onnx", "--flag", "AMPERE_PLUS", "--flag", "SAME_COMPUTE_CAPABILITY")
    with pytest.raises(InvalidParameterError):
        command.build_command(arguments, bindings=bench.bindings)


def test_an_onnx_file_says_what_it_is(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(parsed("inspect", tmp_path / "model.onnx", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["sha256"], found["head"]) == ("onnx", bench.file.sha256, "yolov8")
    assert found["inputs"] == ["images (any, 3, 64, 64) float32"]
    assert (found["precision"], found["labels"]) == ("fp32", 3)
    command.run(parsed("inspect", tmp_path / "model.onnx"))
    assert "sha256" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\x02\x00\x00\x00{}plan"])
def test_a_file_that_is_neither_is_a_model_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        command.run(parsed("inspect", path))


def test_a_hostile_plan_cannot_write_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan"
    path.write_bytes(with_words({"device": "\x1b[2J\x07", "\x1b[31m": "red"}, b"plan"))
    assert command.run(parsed("inspect", path)) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_without_a_gpu_a_build_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise UnavailableError("this machine has no usable NVIDIA GPU")

    monkeypatch.setattr(command, "load_bindings", none)
    with pytest.raises(UnavailableError, match="GPU"):
        command.run(parsed("build", tmp_path / "model.onnx"))


@pytest.mark.parametrize("batches", ["0", "1,65", "1,,2", "many"])
def test_batches_that_are_none_are_wrong_usage(batches: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed("bench", "model.onnx", "--batches", batches)
    assert caught.value.code == 2


def test_bench_prints_a_line_for_each_engine_and_batch(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del bench
    assert command.run(parsed("bench", tmp_path / "model.onnx", "--batches", "1,3", "--seconds", "0")) == 0
    printed = capsys.readouterr()
    rows = [line.split()[:2] for line in printed.out.splitlines()[1:]]
    assert rows[-4:] == [["onnxruntime", "1"], ["openvino", "1"], ["onnxruntime", "3"], ["openvino", "3"]]


def test_pictures_are_counted_and_not_calls() -> None:
    engine = ReferenceEngine(width_px=16, height_px=16)
    assert pictures_per_s(engine, batch=4, duration_s=0.01) > 0
