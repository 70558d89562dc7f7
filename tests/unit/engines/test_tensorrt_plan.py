"""Plans that are broken, foreign or of another kind are refused in words, and nothing is left of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.errors import ModelError
from engines.plan_file import split_plan, with_words
from engines.tensorrt_engine import TensorRtEngine
from tests.unit.engines.gpu_parts import Bench, canvases, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda _: b"", "no plan in this file"),
        (lambda plan: plan[: len(plan) // 2], "engine of this plan"),
        (lambda plan: plan[:-1], "magicTag"),
        (lambda _: bytes(1000), "magicTag"),
    ],
    ids=["empty", "half", "one byte short", "zeros"],
)
def test_a_corrupt_or_truncated_plan_is_refused(bench: Bench, damage: Callable[[bytes], bytes], words: str) -> None:
    plan = damage(bench.build().data)
    with pytest.raises(ModelError, match=words):
        TensorRtEngine(bench.file, plan, bindings=bench.bindings)
    assert bench.left_over() == {}


@pytest.mark.parametrize(
    ("name", "value"), [("device", "Another GPU"), ("tensorrt", "10.1.0"), ("compute_capability", [7, 5])]
)
def test_a_plan_for_another_machine_is_refused_before_tensorrt_sees_it(bench: Bench, name: str, value: object) -> None:
    words, content = split_plan(bench.build().data)
    with pytest.raises(ModelError, match=f"built for the {name.replace('_', ' ')}"):
        bench.engine(with_words({**words, name: value}, content))
    assert bench.left_over() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": ["output0", "protos"]},
        {"outputs": []},
        {"type": "INT32"},
        {"output_type": "INT32"},
        {"profiles": [[[1, 64, 64, 4]] * 3]},
        {"profiles": [[[1, 64]] * 3]},
        {"profiles": []},
    ],
    ids=["two outputs", "no output", "int32 in", "int32 out", "four channels", "two dimensions", "no profile"],
)
def test_a_plan_of_another_kind_is_refused(bench: Bench, change: dict[str, object]) -> None:
    words, content = split_plan(bench.build().data)
    plan = json.loads(content.removeprefix(b"fake plan")) | change
    with pytest.raises(ModelError) as caught:
        bench.engine(with_words(words, json.dumps(plan).encode()))
    assert bench.left_over() == {}
    assert caught.value.detail  # which was kept until here, and with it nothing of TensorRT's


def changed(bench: Bench, **change: object) -> bytes:
    """Return a plan that says other things of itself."""
    words, content = split_plan(bench.build().data)
    return with_words(words, json.dumps(json.loads(content.removeprefix(b"fake plan")) | change).encode())


def test_a_plan_with_code_for_the_host_is_refused_because_that_is_never_allowed(bench: Bench) -> None:
    with pytest.raises(ModelError, match="host code"):
        bench.engine(changed(bench, host_code=True))
    assert bench.left_over() == {}


@pytest.mark.parametrize("largest", [[2**31, 64, 64, 3], [8, 2**20, 2**20, 3]], ids=["a batch", "a canvas"])
def test_a_plan_that_claims_sizes_without_end_gets_no_more_memory_than_we_need(
    bench: Bench, largest: list[int]
) -> None:
    engine = bench.engine(changed(bench, profiles=[[[1, 64, 64, 3], [4, 64, 64, 3], largest]]))
    assert engine.infer(canvases(3))[0, 0, 0] == 3  # on a GPU of 1 GiB
    engine.close()
    assert bench.left_over() == {}


@pytest.mark.parametrize(
    "words",
    [{"device": 7}, {"compute_capability": None}, {"tensorrt": {"a": ["b"] * 50}}, {"device": "x" * 100_000}],
    ids=["a number", "nothing", "an object", "very long"],
)
def test_hostile_words_before_a_plan_are_refused_in_few_words(bench: Bench, words: dict[str, object]) -> None:
    told, content = split_plan(bench.build().data)
    with pytest.raises(ModelError, match="built for") as caught:
        bench.engine(with_words({**told, **words}, content))
    assert len(caught.value.detail) < 300
    assert bench.left_over() == {}


def test_shapes_that_stay_unknown_are_refused(bench: Bench) -> None:
    plan = bench.build().data
    bench.trt.missing_shapes = ["sizes"]
    with pytest.raises(ModelError, match="sizes"):
        bench.engine(plan)
    assert bench.left_over() == {}
