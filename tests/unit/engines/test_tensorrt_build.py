"""Plans are built as they were asked for, and whatever TensorRT refuses comes back as a typed error."""

import io
from pathlib import Path

import onnxruntime as ort
import pytest

from app.core.errors import InvalidParameterError, ModelError, UnavailableError
from app.core.model import Head
from engines.byte_input import INPUT_NAME
from engines.cuda.device import Device
from engines.fp8_graph import to_fp8
from engines.model_file import read_model_file
from engines.plan_file import split_plan
from engines.profiles import SIZES
from engines.tensorrt_build import BuildOptions, key_for, target_of
from engines.tensorrt_progress import new_progress
from engines.tiny_yolo import tiny_yolo
from tests import fake_tensorrt
from tests.builders import make_rgb
from tests.unit.engines.gpu_parts import Bench, make_bench
from tests.unit.engines.small_network import small_network


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def test_a_plan_has_byte_input_one_output_and_the_profiles_that_the_model_allows(bench: Bench) -> None:
    words, _ = split_plan(bench.build().data)
    (told,) = bench.trt.built
    assert (told["input"], told["type"], told["outputs"]) == (INPUT_NAME, "UINT8", [bench.file.output_name])
    assert told["profiles"] == [[[1, 64, 64, 3], [4, 64, 64, 3], [8, 64, 64, 3]]]
    assert told["workspace_bytes"] == 4096 << 20
    assert (words["precision"], words["head"], words["device"]) == ("fp32", "yolov8", "Simulated GPU")
    assert bench.left_over() == {}


def test_a_model_of_free_sizes_gets_every_profile(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "free" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(tiny_yolo(Head.YOLOX, size_px=None).SerializeToString())
    (path.parent / "card.json").write_text('{"head": {"kind": "yolox"}}', encoding="utf-8")
    bench.build(file=read_model_file(path))
    assert [profile[0] for profile in bench.trt.built[0]["profiles"]] == [
        [1, 320, 320, 3],
        [1, 512, 512, 3],
        [1, 768, 768, 3],
        [1, 1024, 1024, 3],
    ]


def test_flags_are_set_and_change_the_key(bench: Bench) -> None:
    flags = frozenset({"VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "NO_TF32", "AMPERE_PLUS"})
    keys = {
        bench.build().key,
        bench.build(BuildOptions(flags=flags)).key,
        bench.build(BuildOptions(profiles=SIZES)).key,
    }
    assert len(keys) == 2  # at a fixed size the profiles come to the same
    assert bench.trt.built[0]["flags"] == {"TF32"}
    assert bench.trt.built[1]["flags"] == {"VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"}
    assert bench.trt.built[1]["compatibility"] == "AMPERE_PLUS"


def test_workspace_and_the_machine_are_part_of_the_key(bench: Bench) -> None:
    device = Device(bench.bindings)
    target = device.call(lambda: target_of(bench.bindings))
    device.close(lambda: None)
    key = key_for(bench.file, target, BuildOptions())
    assert key == bench.build().key
    assert key != key_for(bench.file, target, BuildOptions(workspace_bytes=1 << 30))
    bench.gpu.name = "Another GPU"
    assert key != bench.build().key


def test_flags_that_there_are_not_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="FP16"):
        BuildOptions(flags=frozenset({"FP16"}))
    with pytest.raises(InvalidParameterError, match="host code"):
        BuildOptions(flags=frozenset({"VERSION_COMPATIBLE"}))
    with pytest.raises(InvalidParameterError, match="not both"):
        BuildOptions(flags=frozenset({"AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"}))


@pytest.mark.parametrize(
    "call",
    [
        "create_network",
        "get_output",
        "create_builder_config",
        "create_optimization_profile",
        "add_optimization_profile",
        "build_serialized_network",
    ],
)
def test_whatever_the_builder_refuses_is_a_model_error_and_nothing_is_left(bench: Bench, call: str) -> None:
    bench.trt.refusals.add(call)
    with pytest.raises(ModelError) as caught:
        bench.build()
    assert not bench.trt.refusals
    assert bench.left_over() == {}
    assert bench.trt.freed_by == bench.gpu.threads
    assert caught.value.detail


def test_the_loggers_last_words_are_in_the_error(bench: Bench) -> None:
    bench.trt.refusals.add("build_serialized_network")
    with pytest.raises(ModelError, match="build_serialized_network was refused"):
        bench.build()


def test_an_operator_that_tensorrt_does_not_know_is_named(bench: Bench) -> None:
    bench.trt.refusals.add("parse")
    with pytest.raises(ModelError, match="Strange: no importer"):
        bench.build()
    assert bench.left_over() == {}


@pytest.mark.parametrize("cache", [b"corrupt", b"foreign"])
def test_a_timing_cache_that_does_not_fit_is_put_aside(bench: Bench, cache: bytes) -> None:
    assert bench.build(timing_cache=b"known").timing_cache == b"known+1"
    assert bench.build(timing_cache=cache).timing_cache == b"+1"


@pytest.mark.parametrize("call", ["get_timing_cache", "serialize"])
def test_timings_that_cannot_be_had_do_not_cost_the_plan(bench: Bench, call: str) -> None:
    bench.trt.refusals.add(call)
    built = bench.build()
    assert built.timing_cache == b""
    assert split_plan(built.data)[1].startswith(b"fake plan")


def test_no_timing_cache_at_all_is_a_model_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_tensorrt.IBuilderConfig, "set_timing_cache", lambda *_: False)
    with pytest.raises(ModelError, match="empty timing cache"):
        bench.build()


def test_progress_is_shown_and_a_build_can_be_cancelled(bench: Bench) -> None:
    shown = io.StringIO()
    bench.build(progress=new_progress(fake_tensorrt, file=shown))
    assert "Building Engine" in shown.getvalue()
    assert "Tactic Selection" in shown.getvalue()
    cancelled = new_progress(fake_tensorrt, file=shown)
    cancelled.cancel()
    with pytest.raises(ModelError, match="cancelled"):
        bench.build(progress=cancelled)


def test_without_a_gpu_nothing_is_built(bench: Bench) -> None:
    bench.gpu.is_there = False
    with pytest.raises(UnavailableError):
        bench.build()
    assert bench.trt.objects_without_gpu == 0


def test_what_tensorrt_parses_is_a_graph_that_others_take_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    original = fake_tensorrt.OnnxParser.parse
    monkeypatch.setattr(
        fake_tensorrt.OnnxParser, "parse", lambda parser, model: parsed.append(model) or original(parser, model)
    )
    bench.build()
    session = ort.InferenceSession(parsed[0], providers=["CPUExecutionProvider"])
    assert [(one.name, one.type) for one in session.get_inputs()] == [(INPUT_NAME, "tensor(uint8)")]


def test_the_precision_of_a_plan_is_that_of_the_artefact(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "fp8" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(small_network().SerializeToString())
    pictures = [make_rgb(width_px=64, height_px=64, seed=seed) for seed in range(2)]
    path.write_bytes(to_fp8(read_model_file(path), pictures).SerializeToString())
    built = bench.build(file=read_model_file(path))
    words, _ = split_plan(built.data)
    assert words["precision"] == "fp8"
    assert built.key != bench.build().key
    bench.gpu.capability = (8, 6)
    with pytest.raises(ModelError, match=r"FP8, which begins with compute capability 8\.9"):
        bench.build(file=read_model_file(path))
    assert bench.left_over() == {}
