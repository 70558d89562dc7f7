"""One engine in front of several, each of which fails in its own way."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import (
    DeviceLostError,
    DeviceMemoryError,
    ModelError,
    OverloadedError,
    SightlineError,
    UnavailableError,
)
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput
from app.pipeline.engine_slot import EngineSlot, Opening
from app.pipeline.guarded_engine import GuardedEngine, GuardParameters, Inference
from app.policy.breaker import BreakerState
from app.policy.ladder import Degradation, Rung
from tests.fakes import FakeEngine, ManualClock

TENSORRT, CUDA, CPU = Rung.TENSORRT, Rung.ONNX_CUDA, Rung.ONNX_CPU


class SmallEngine(FakeEngine):
    """Takes batches up to `room`."""

    room = 99
    n_restarts = 0
    is_broken = False

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        if len(pixels) > self.room:
            raise DeviceMemoryError
        return super().infer(pixels)


class World:
    """Three engines, each of which may refuse to load or to infer, and the guard over them."""

    def __init__(self, *rungs: Rung) -> None:
        self.clock = ManualClock()
        self.engines = {rung: SmallEngine() for rung in rungs or (TENSORRT, CUDA, CPU)}
        self.refuses: dict[Rung, SightlineError] = {}
        self.smaller: ModelSpec | None = FakeEngine(size_px=32).spec

    def guard(self) -> GuardedEngine:
        openings = [Opening(rung=rung, open=self.opener(rung)) for rung in self.engines]
        return GuardedEngine(openings, smaller=self.smaller, clock=self.clock)

    def opener(self, rung: Rung) -> Callable[[], Engine]:
        def opened() -> Engine:
            if rung in self.refuses:
                raise self.refuses[rung]
            return self.engines[rung]

        return opened


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Each canvas another: the first pixel of number i is i + 1."""
    canvases = [np.zeros((64, 64, 3), np.uint8) for _ in range(count)]
    for number, canvas in enumerate(canvases, start=1):
        canvas[0, 0, 0] = number
    return canvases


def widths(answer: Inference) -> list[float]:
    return [float(row[0][2]) for row in answer.rows]


@pytest.fixture
def world() -> World:
    return World()


def test_while_the_first_engine_works_nothing_is_degraded(world: World) -> None:
    guard = world.guard()
    answer = guard.infer(pictures(3))
    assert (widths(answer), answer.degraded) == ([1, 2, 3], None)
    assert (guard.state().rung, guard.streams) == (TENSORRT, 1)
    assert world.engines[CUDA].batches == []


def test_a_batch_that_does_not_fit_is_halved_and_comes_back_whole_and_undegraded(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].room = 2
    answer = guard.infer(pictures(7))
    assert (widths(answer), answer.degraded) == ([1, 2, 3, 4, 5, 6, 7], None)
    assert world.engines[TENSORRT].batches == [1] * 7  # 7, 3 and then 1 at a time


def test_what_fitted_is_remembered_for_a_while_and_then_the_whole_batch_is_tried_again(world: World) -> None:
    slot = EngineSlot(
        Opening(rung=TENSORRT, open=world.opener(TENSORRT)),
        clock=world.clock,
        parameters=GuardParameters().breaker,
    )
    world.engines[TENSORRT].room = 4
    slot.infer(pictures(8))
    world.engines[TENSORRT].room = 99
    slot.infer(pictures(8))
    assert world.engines[TENSORRT].batches == [4, 4, 4, 4]
    world.clock.now_s = slot.REGROW_S
    slot.infer(pictures(8))
    assert world.engines[TENSORRT].batches[-1] == 8
    assert slot.fits is None


def test_when_not_even_one_picture_fits_the_cpu_answers_and_says_why(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].room = 0
    answer = guard.infer(pictures(4))
    assert widths(answer) == [1, 2, 3, 4]
    assert answer.degraded == "onnxruntime_cpu: the GPU has no memory left for this"
    assert world.engines[CUDA].batches == []  # it has the same memory
    assert not guard.state().is_broken


def test_the_gpu_comes_back_after_three_good_probes(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].room = world.engines[CUDA].room = 0
    guard.infer(pictures(1))
    for _ in range(5):
        guard.probe()
    assert guard.state().rung is CPU
    world.engines[TENSORRT].room = world.engines[CUDA].room = 99
    for _ in range(2):
        guard.probe()
    assert guard.infer(pictures(1)).degraded is not None
    guard.probe()
    assert guard.infer(pictures(1)).degraded is None


def test_rows_that_are_no_numbers_are_no_good_probe(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].room = world.engines[CUDA].room = 0
    guard.infer(pictures(1))
    world.engines[TENSORRT].room = 99
    sound = world.engines[TENSORRT].infer
    world.engines[TENSORRT].infer = lambda pixels: sound(pixels) * np.nan  # type: ignore[method-assign]
    for _ in range(9):
        guard.probe()
    assert guard.state().rung is CPU


def test_a_sticky_error_breaks_it_at_once_and_the_batch_in_hand_is_answered(world: World) -> None:
    guard = world.guard()
    guard.check_health()
    world.engines[TENSORRT].fails = DeviceLostError()
    answer = guard.infer(pictures(2))
    assert widths(answer) == [1, 2]
    assert answer.degraded == "onnxruntime_cpu: the GPU was lost; a replacement starts"
    assert guard.state().is_broken
    with pytest.raises(DeviceLostError):
        guard.check_health()


def test_what_is_broken_stays_broken_whatever_the_gpu_says_later(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].fails = DeviceLostError()
    guard.infer(pictures(1))
    world.engines[TENSORRT].fails = None
    for _ in range(9):
        guard.probe()
    assert guard.infer(pictures(1)).degraded is not None
    with pytest.raises(DeviceLostError):
        guard.check_health()


def test_without_a_cpu_engine_a_lost_gpu_is_the_callers_error() -> None:
    world = World(TENSORRT)
    guard = world.guard()
    world.engines[TENSORRT].fails = DeviceLostError()
    with pytest.raises(DeviceLostError):
        guard.infer(pictures(1))
    assert guard.state().is_broken


def test_a_plan_that_cannot_be_read_leads_to_onnx_runtime_on_the_gpu_and_back_when_it_is_repaired(world: World) -> None:
    world.refuses[TENSORRT] = ModelError("the plan cannot be read back")
    guard = world.guard()
    assert guard.infer(pictures(1)).degraded == "onnxruntime_cuda: the plan cannot be read back"
    world.clock.now_s = 2.0
    guard.probe()
    assert guard.state().load_failures == 2
    world.refuses.clear()
    world.clock.now_s = 10.0
    for _ in range(3):
        guard.probe()
    assert guard.infer(pictures(1)).degraded is None


def test_a_load_that_failed_is_tried_more_and_more_rarely_and_never_more_than_8_s_later(world: World) -> None:
    world.refuses[TENSORRT] = ModelError("the plan cannot be read back")
    guard = world.guard()
    tried_s = []
    for tick in range(600):
        world.clock.now_s, before = tick / 10, guard.state().load_failures
        guard.probe()
        tried_s += [world.clock.now_s] * (guard.state().load_failures - before)
    apart_s = np.diff([0.0, *tried_s])
    assert len(tried_s) < 25
    assert min(apart_s) >= 2.0 - 1e-9
    assert max(apart_s) <= 8.1
    assert guard.infer(pictures(1)).degraded == "onnxruntime_cuda: the plan cannot be read back"


def test_an_engine_that_fails_call_after_call_is_left_alone_until_the_part_behind_it_was_started_anew() -> None:
    world = World(CPU)
    engine = world.engines[CPU]
    guard = world.guard()
    engine.fails = UnavailableError("its process died")
    for _ in range(10):
        with pytest.raises(UnavailableError, match="process died"):
            guard.infer(pictures(1))
    engine.fails = None
    with pytest.raises(UnavailableError, match="tried again later"):
        guard.infer(pictures(1))
    assert guard.degraded == "too many calls to onnxruntime_cpu failed: its breaker is open"
    engine.n_restarts = 1
    assert widths(guard.infer(pictures(1))) == [1]
    assert guard.degraded is None


def test_an_only_engine_at_its_end_ends_the_process_and_one_that_nobody_asks_does_not(world: World) -> None:
    guard = world.guard()
    world.engines[CUDA].is_broken = world.engines[CPU].is_broken = True
    assert not guard.is_broken
    world.engines[TENSORRT].is_broken = True
    assert guard.is_broken


def test_a_model_of_one_size_is_spared_by_fewer_frames_first(world: World) -> None:
    world.smaller = None
    guard = world.guard()
    for _ in range(3):
        guard.look(queue_age_s=1.0)
        world.clock.now_s += 0.25
    assert (guard.relief.rung, guard.relief.input_ratio) == (Rung.FEWER_FRAMES, 1.0)
    assert guard.degraded == "fewer_frames: frames wait longer than 0.15 s for the model"


def test_what_is_to_be_done_at_the_end_is_done(world: World) -> None:
    closed = []
    GuardedEngine([Opening(rung=CPU, open=world.opener(CPU))], on_close=lambda: closed.append(1)).close()
    assert closed == [1]


def test_a_device_that_loads_nothing_leads_to_the_cpu(world: World) -> None:
    world.refuses = dict.fromkeys((TENSORRT, CUDA), UnavailableError("the GPU is not available"))
    guard = world.guard()
    assert guard.infer(pictures(1)).degraded == "onnxruntime_cpu: the GPU is not available"
    assert guard.streams == 1
    assert not guard.state().is_broken


def test_too_little_memory_to_load_one_engine_may_be_enough_for_the_next(world: World) -> None:
    world.refuses[TENSORRT] = DeviceMemoryError("the model needs 900 MiB and 500 MiB are left")
    guard = world.guard()
    degraded = guard.infer(pictures(1)).degraded
    assert degraded == "onnxruntime_cuda: the model needs 900 MiB and 500 MiB are left"


def test_where_nothing_can_be_opened_the_error_says_so(world: World) -> None:
    world.refuses = dict.fromkeys((TENSORRT, CUDA, CPU), ModelError("no such file"))
    with pytest.raises(ModelError, match="no such file"):
        world.guard()


def test_a_cpu_engine_that_cannot_be_opened_does_not_keep_the_gpu_from_serving(world: World) -> None:
    world.refuses[CPU] = ModelError("no runtime")
    assert world.guard().infer(pictures(1)).degraded is None


def test_one_failed_call_is_answered_below_and_changes_nothing_else(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].fails = UnavailableError("the GPU is not available")
    assert guard.infer(pictures(1)).degraded == "onnxruntime_cuda: the GPU is not available"
    world.engines[TENSORRT].fails = None
    assert guard.infer(pictures(1)).degraded is None


def test_calls_that_fail_again_and_again_open_the_breaker_and_it_is_tried_again_after_30_s(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].fails = UnavailableError("the GPU is not available")
    answers = [guard.infer(pictures(1)) for _ in range(20)]
    assert all(answer.degraded for answer in answers)
    state = guard.state()
    assert state.breakers[TENSORRT] is BreakerState.OPEN
    assert state.degradations == (Degradation(rung=CUDA, reason="the GPU is not available"),)
    world.engines[TENSORRT].fails = None
    for _ in range(5):
        guard.probe()
    assert world.engines[TENSORRT].batches == []
    world.clock.now_s = 30.0
    for _ in range(3):
        guard.probe()
    assert guard.infer(pictures(1)).degraded is None


def test_pictures_of_a_wrong_shape_are_the_callers_fault_and_break_nothing(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].fails = ModelError("the model takes other canvases")
    for _ in range(30):
        with pytest.raises(ModelError, match="other canvases"):
            guard.infer(pictures(1))
    state = guard.state()
    assert (state.rung, state.breakers[TENSORRT]) == (TENSORRT, BreakerState.CLOSED)


def test_the_cpu_takes_no_more_than_its_own_few_while_it_stands_in(world: World) -> None:
    guard = world.guard()
    world.engines[TENSORRT].fails = DeviceLostError()
    guard.infer(pictures(1))
    entered, leave = threading.Event(), threading.Event()
    sound = world.engines[CPU].infer

    def slow(pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        entered.set()
        leave.wait(5)
        return sound(pixels)

    world.engines[CPU].infer = slow  # type: ignore[method-assign]
    first = threading.Thread(target=guard.infer, args=(pictures(1),))
    first.start()
    entered.wait(5)
    with pytest.raises(OverloadedError, match="the CPU stands in"):
        guard.infer(pictures(1))
    leave.set()
    first.join()
    assert len(guard.infer(pictures(1)).rows) == 1


def test_a_cpu_that_is_the_first_engine_has_no_such_cap_and_is_not_degraded() -> None:
    world = World(CPU)
    world.engines[CPU].streams = 4
    guard = world.guard()
    assert (guard.streams, guard.infer(pictures(2)).degraded) == (4, None)


def test_relief_is_asked_for_under_load_and_every_answer_says_so(world: World) -> None:
    guard = world.guard()
    for _ in range(3):
        guard.look(queue_age_s=1.0)
        world.clock.now_s += 0.25
    assert guard.relief.input_ratio == 0.5
    answer = guard.infer(pictures(1))
    assert answer.degraded == "smaller_input: frames wait longer than 0.15 s for the model"
    world.engines[TENSORRT].fails = DeviceLostError()
    both = guard.infer(pictures(1)).degraded or ""
    assert both.split("; ")[0].startswith("onnxruntime_cpu: ")
    assert both.endswith("smaller_input: frames wait longer than 0.15 s for the model")


def test_pictures_made_small_say_so_even_if_the_load_has_passed_meanwhile(world: World) -> None:
    guard = world.guard()
    for _ in range(3):
        guard.look(queue_age_s=1.0)
        world.clock.now_s += 0.25
    made_under = guard.relief
    for _ in range(20):
        guard.look(queue_age_s=0.0)
        world.clock.now_s += 0.25
    assert guard.infer(pictures(1)).degraded is None
    late = guard.infer(pictures(1), relief=made_under)
    assert late.degraded == "smaller_input: frames wait longer than 0.15 s for the model"


def test_closing_gives_every_opened_engine_back(world: World) -> None:
    guard = world.guard()
    guard.close()
    assert [engine.is_closed for engine in world.engines.values()] == [True, False, True]
