"""The TensorRT engine over a simulated GPU: right rows, one thread, nothing left over, whatever is refused."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import DeviceLostError, DeviceMemoryError, ModelError, SightlineError, UnavailableError
from engines.plan_file import split_plan, with_words
from engines.tensorrt_canvas import CanvasLanes
from engines.tensorrt_lane import Lane
from tests.unit.engines.gpu_parts import Bench, canvases, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def test_each_row_belongs_to_its_canvas_in_every_batch_and_beyond_the_largest(bench: Bench) -> None:
    engine = bench.engine()
    for count in (1, 2, 3, 5, 8, 11, 25):
        rows = engine.infer(canvases(*range(10, 10 + count)))
        assert rows.shape == (count, 4, 6)
        assert rows[:, 0, 0].tolist() == list(range(10, 10 + count))
    engine.close()
    assert bench.left_over() == {}


def test_bytes_travel_and_not_floats(bench: Bench) -> None:
    engine = bench.engine(max_batch=1)
    (size_bytes,) = {len(memory) for memory in bench.gpu.pinned.values()}
    assert size_bytes == 64 * 64 * 3 + 4 * 6 * 4
    engine.close()


def test_only_one_thread_touches_the_gpu_and_frees_what_lies_there(bench: Bench) -> None:
    plan = bench.build().data
    bench.gpu.threads.clear()
    bench.trt.freed_by.clear()
    engine = bench.engine(plan)
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda value: engine.infer(canvases(value))[0, 0, 0], range(40)))
    engine.close()
    assert answers == list(range(40))
    assert len(bench.gpu.threads) == 1
    assert threading.get_ident() not in bench.gpu.threads
    assert bench.trt.freed_by == bench.gpu.threads


def test_batches_are_replayed_from_one_graph_each(bench: Bench) -> None:
    engine = bench.engine()
    assert len(bench.graphs.executables) == 4  # 1, 2, 4 and 8
    for _ in range(3):
        engine.infer(canvases(1, 2, 3))
    assert bench.graphs.launches == 3
    engine.close()


@pytest.mark.parametrize("step", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_a_capture_that_is_refused_leaves_plain_execution(bench: Bench, step: str) -> None:
    plan = bench.build().data
    bench.gpu.refusals[step] = "operation not permitted when stream is capturing"
    engine = bench.engine(plan)
    assert len(bench.graphs.executables) == 3
    assert engine.infer(canvases(*range(8)))[:, 0, 0].tolist() == list(range(8))
    engine.close()
    assert bench.left_over() == {}


def test_without_graphs_the_engine_runs_plainly(bench: Bench) -> None:
    bench.bindings = dataclasses.replace(bench.bindings, graphs=None)
    engine = bench.engine()
    assert engine.infer(canvases(7, 8))[:, 0, 0].tolist() == [7, 8]
    engine.close()
    assert bench.left_over() == {}


def test_an_output_whose_size_is_known_afterwards_comes_by_the_allocator(bench: Bench) -> None:
    bench.trt.output_is_free = True
    engine = bench.engine()
    assert engine.infer(canvases(3, 4, 5))[:, 3, 5].tolist() == [3, 4, 5]
    assert not bench.graphs.executables  # such an output lies elsewhere every time
    engine.close()
    assert bench.left_over() == {}


def test_no_memory_for_a_free_output_is_said_so(bench: Bench) -> None:
    bench.trt.output_is_free = True
    plan = bench.build().data
    bench.gpu.capacity_bytes = 3_200_000 + 64 * 64 * 3 * 8 + 4000  # scratch and input of the largest batch
    with pytest.raises(DeviceMemoryError):
        bench.engine(plan)
    assert bench.left_over() == {}


def test_a_float16_output_comes_as_float32(bench: Bench) -> None:
    words, content = split_plan(bench.build().data)
    plan = json.loads(content.removeprefix(b"fake plan")) | {"output_type": "HALF"}
    engine = bench.engine(with_words(words, json.dumps(plan).encode()))
    rows = engine.infer(canvases(9))
    assert (rows.dtype, rows[0, 0, 0]) == (np.float32, 9)
    engine.close()


def test_a_foreign_plan_of_float_planes_is_fed_scaled(bench: Bench) -> None:
    shapes = [[1, 3, 64, 64], [1, 3, 64, 64], [4, 3, 64, 64]]
    plan = {"input": "images", "type": "FLOAT", "outputs": ["output0"], "profiles": [shapes]}
    engine = bench.engine(json.dumps(plan).encode())
    assert engine.infer(canvases(51, 102))[:, 0, 0] == pytest.approx([0.2, 0.4])
    engine.close()


REFUSED = [
    "deserialize_cuda_engine",
    "create_execution_context",
    "set_optimization_profile_async",
    "set_input_shape",
    "set_tensor_address INPUT",
    "set_tensor_address OUTPUT",
    "execute_async_v3",
]


@pytest.mark.parametrize("call", REFUSED)
def test_whatever_tensorrt_refuses_is_a_model_error_with_its_words_and_nothing_is_left(bench: Bench, call: str) -> None:
    plan = bench.build().data
    bench.trt.refusals.add(call)
    with pytest.raises(ModelError, match=f"{call} was refused"):
        bench.engine(plan)
    assert not bench.trt.refusals
    assert bench.left_over() == {}


def test_a_refused_allocator_is_a_model_error_and_nothing_is_left(bench: Bench) -> None:
    plan = bench.build().data
    bench.trt.output_is_free = True
    bench.trt.refusals.add("set_output_allocator")
    with pytest.raises(ModelError, match="set_output_allocator was refused"):
        bench.engine(plan)
    assert bench.left_over() == {}


@pytest.mark.parametrize(
    "call",
    [
        "cuInit",
        "cuDeviceGet",
        "cuDevicePrimaryCtxRetain",
        "cuCtxPushCurrent",
        "cuStreamCreate",
        "cuMemAlloc",
        "cuMemHostAlloc",
        "cuStreamSynchronize",
    ],
)
def test_whatever_the_driver_refuses_at_the_start_is_typed_and_nothing_is_left(bench: Bench, call: str) -> None:
    plan = bench.build().data
    bench.gpu.refusals[call] = "invalid argument"
    with pytest.raises(UnavailableError):
        bench.engine(plan)
    assert bench.left_over() == {}


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuGraphLaunch", "cuStreamSynchronize"])
def test_one_failed_batch_fails_alone(bench: Bench, call: str) -> None:
    engine = bench.engine()
    before = engine.memory()
    bench.gpu.refusals[call] = "invalid argument"
    with pytest.raises(UnavailableError):
        engine.infer(canvases(1))
    assert engine.infer(canvases(2))[0, 0, 0] == 2
    assert engine.memory() == before
    engine.close()
    assert bench.left_over() == {}


def test_a_refused_run_is_a_model_error_and_the_next_one_goes_on(bench: Bench) -> None:
    bench.bindings = dataclasses.replace(bench.bindings, graphs=None)
    engine = bench.engine()
    bench.trt.refusals.add("execute_async_v3")
    with pytest.raises(ModelError, match="execute_async_v3 was refused"):
        engine.infer(canvases(1))
    assert not engine.is_broken
    assert engine.infer(canvases(2))[0, 0, 0] == 2
    engine.close()


def served(bench: Bench, plan: bytes) -> str:
    """Open, answer three batches and close; return what came of it."""
    try:
        engine = bench.engine(plan)
    except SightlineError as error:
        return type(error).__name__
    answers = []
    for count in (1, 3, 9):
        try:
            rows = engine.infer(canvases(*range(count)))
        except SightlineError as error:
            answers.append(type(error).__name__)
        else:
            assert rows[:, 0, 0].tolist() == list(range(count))
    bench.gpu.fails_at = bench.trt.fails_at = 0
    engine.close()
    return ",".join(answers) or "served"


@pytest.mark.parametrize("free", [False, True])
def test_every_single_call_of_the_driver_may_fail_once(bench: Bench, *, free: bool) -> None:
    bench.trt.output_is_free = free
    plan = bench.build().data
    bench.gpu.calls.clear()
    assert served(bench, plan) == "served"
    calls = list(bench.gpu.calls)
    assert len(calls) > 50
    outcomes = set()
    made = list(enumerate(calls[: calls.index("cuMemFree")], start=1))
    for number, name in [(number, name) for number, name in made if name != "cuGraphDestroy"]:
        bench.gpu.calls.clear()
        bench.gpu.fails_at = number
        outcomes.add(served(bench, plan))
        assert bench.left_over() == {}, (number, name)
    assert "UnavailableError" in outcomes
    assert outcomes <= {"UnavailableError", "DeviceLostError", "served"}


def test_a_graph_that_the_driver_does_not_take_back_costs_nothing_else(bench: Bench) -> None:
    plan = bench.build().data
    bench.gpu.refusals["cuGraphDestroy"] = "invalid argument"
    assert served(bench, plan) == "served"
    assert (len(bench.graphs.graphs), bench.graphs.executables) == (1, {})
    bench.graphs.graphs.clear()
    assert bench.left_over() == {}


@pytest.mark.parametrize("free", [False, True])
def test_every_single_call_of_tensorrt_may_be_refused_once(bench: Bench, *, free: bool) -> None:
    bench.trt.output_is_free = free
    plan = bench.build().data
    bench.trt.granted = 0
    assert served(bench, plan) == "served"
    outcomes = set()
    for number in range(1, bench.trt.granted + 1):
        bench.trt.granted, bench.trt.fails_at = 0, number
        outcomes.add(served(bench, plan))
        assert bench.left_over() == {}, number
    assert "ModelError" in outcomes
    assert outcomes <= {"ModelError", "served"}


def test_after_a_sticky_error_the_engine_is_broken_and_says_so_at_once(bench: Bench) -> None:
    engine = bench.engine()
    bench.gpu.dead_of = "an illegal memory access was encountered"
    with pytest.raises(DeviceLostError):
        engine.infer(canvases(1))
    assert engine.is_broken
    bench.gpu.calls.clear()
    with pytest.raises(DeviceLostError):
        engine.infer(canvases(1))
    assert not bench.gpu.calls
    engine.close()


def test_a_dead_context_is_found_out_by_asking_even_if_tensorrt_only_says_false(bench: Bench) -> None:
    bench.bindings = dataclasses.replace(bench.bindings, graphs=None)
    engine = bench.engine()
    bench.trt.refusals.add("execute_async_v3")
    bench.gpu.refusals["cuCtxSynchronize"] = "words that no table has"
    with pytest.raises(DeviceLostError):
        engine.infer(canvases(1))
    assert engine.is_broken
    engine.close()


def test_without_a_gpu_no_object_of_tensorrt_is_made(bench: Bench) -> None:
    plan = bench.build().data
    bench.gpu.is_there = False
    bench.gpu.calls.clear()
    with pytest.raises(UnavailableError, match="GPU"):
        bench.engine(plan)
    assert bench.trt.objects_without_gpu == 0
    assert not bench.gpu.calls


@pytest.mark.parametrize(
    "pixels",
    [
        [],
        [np.zeros((64, 64), np.uint8)],
        [np.zeros((64, 64, 4), np.uint8)],
        [np.zeros((64, 64, 3), np.float32)],
        [*canvases(1), *canvases(1, side_px=32)],
        canvases(1, side_px=96),
    ],
    ids=["none", "grey", "four channels", "floats", "two sizes", "no profile"],
)
def test_canvases_that_are_none_are_refused_and_the_engine_goes_on(bench: Bench, pixels: list[np.ndarray]) -> None:
    engine = bench.engine()
    with pytest.raises(ModelError):
        engine.infer(pixels)
    assert engine.infer(canvases(1)).shape == (1, 4, 6)
    engine.close()


def test_a_closed_engine_refuses_and_closing_twice_changes_nothing(bench: Bench) -> None:
    engine = bench.engine()
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError, match="closed"):
        engine.infer(canvases(1))


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc", "execute_async_v3", "set_input_shape"])
def test_an_error_at_the_start_that_somebody_keeps_holds_nothing_on_the_gpu(bench: Bench, call: str) -> None:
    plan = bench.build().data
    bench.gpu.threads.clear()
    bench.trt.freed_by.clear()
    bench.gpu.refusals[call] = "invalid argument"
    bench.trt.refusals.add(call)
    with pytest.raises(SightlineError) as caught:
        bench.engine(plan)
    assert bench.left_over() == {}
    assert bench.trt.freed_by == bench.gpu.threads
    assert caught.value.detail


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "execute_async_v3"])
def test_an_error_of_a_batch_that_somebody_keeps_holds_nothing_once_the_engine_is_closed(
    bench: Bench, call: str
) -> None:
    bench.bindings = dataclasses.replace(bench.bindings, graphs=None)
    plan = bench.build().data
    bench.gpu.threads.clear()
    bench.trt.freed_by.clear()
    engine = bench.engine(plan)
    bench.gpu.refusals[call] = "invalid argument"
    bench.trt.refusals.add(call)
    with pytest.raises(SightlineError) as caught:
        engine.infer(canvases(1))
    engine.close()
    assert bench.left_over() == {}
    assert bench.trt.freed_by == bench.gpu.threads
    assert caught.value.detail


def test_opening_and_closing_again_leaves_nothing_behind(bench: Bench) -> None:
    plan = bench.build().data
    for _ in range(5):
        engine = bench.engine(plan)
        engine.infer(canvases(1, 2, 3))
        engine.close()
        assert bench.left_over() == {}


def test_a_lane_that_forgets_its_memory_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control of every `left_over` above."""
    monkeypatch.setattr(Lane, "close", lambda _: None)
    engine = bench.engine()
    engine.close()
    assert bench.left_over().keys() == {"device memory", "graphs", "TensorRT objects"}


def test_a_close_waits_for_the_call_that_runs(bench: Bench) -> None:
    engine = bench.engine()
    is_running, may_end = threading.Event(), threading.Event()
    canvas = engine._on_device.canvas

    def slow_canvas(height_px: int, width_px: int) -> CanvasLanes:
        is_running.set()
        may_end.wait(5)
        return canvas(height_px, width_px)

    engine._on_device.canvas = slow_canvas
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(engine.infer, canvases(5))
        assert is_running.wait(5)
        closed = threads.submit(engine.close)
        while not engine._is_closed:
            continue
        with pytest.raises(UnavailableError, match="closed"):
            engine.infer(canvases(6))
        may_end.set()
        assert answer.result(5)[0, 0, 0] == 5
        closed.result(5)
    assert bench.left_over() == {}
