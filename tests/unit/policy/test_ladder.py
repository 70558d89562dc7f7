from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.fault_plan import MAX_RECOVERY_S
from app.policy.ladder import (
    AT_FULL_SIZE,
    RELIEFS,
    Degradation,
    EngineFailed,
    Ladder,
    LadderParameters,
    LoadSeen,
    Probed,
    Relief,
    Rung,
    better,
    degradations,
    start,
    transition,
    words,
)

PARAMETERS = LadderParameters()
ENGINES = (Rung.TENSORRT, Rung.ONNX_CUDA, Rung.ONNX_CPU)
LOOK_S = 0.25


def top() -> Ladder:
    return start(ENGINES, parameters=PARAMETERS)


def failed(ladder: Ladder, rung: Rung, reason: str = "why", *, is_gpu_lost: bool = False) -> Ladder:
    event = EngineFailed(rung=rung, reason=reason, is_gpu_lost=is_gpu_lost)
    return transition(ladder, event, parameters=PARAMETERS)


def probed(ladder: Ladder, rung: Rung, *, is_good: bool = True, times: int = 1) -> Ladder:
    for _ in range(times):
        ladder = transition(ladder, Probed(rung=rung, is_good=is_good), parameters=PARAMETERS)
    return ladder


def looked(ladder: Ladder, *, begin_s: float, end_s: float, **load: float) -> Ladder:
    """The load stays as it is from `begin_s` to `end_s`, with four looks a second."""
    for step in range(int((end_s - begin_s) / LOOK_S) + 1):
        event = LoadSeen(now_s=begin_s + step * LOOK_S, **{"queue_age_s": 0.0, **load})
        ladder = transition(ladder, event, parameters=PARAMETERS)
    return ladder


def rungs(ladder: Ladder) -> list[Rung]:
    return [one.rung for one in degradations(ladder)]


def test_at_the_top_nothing_is_degraded() -> None:
    assert degradations(top()) == ()
    assert words(degradations(top())) is None


def test_an_engine_that_fails_gives_its_place_to_the_next_and_the_reason_is_told() -> None:
    ladder = failed(top(), Rung.TENSORRT, "its plan is corrupt")
    assert degradations(ladder) == (Degradation(rung=Rung.ONNX_CUDA, reason="its plan is corrupt"),)
    assert words(degradations(ladder)) == "onnxruntime_cuda: its plan is corrupt"


def test_a_gpu_that_is_lost_leads_to_the_cpu_at_once() -> None:
    ladder = failed(top(), Rung.TENSORRT, "the GPU is lost", is_gpu_lost=True)
    assert degradations(ladder) == (Degradation(rung=Rung.ONNX_CPU, reason="the GPU is lost"),)


def test_the_last_engine_stays() -> None:
    ladder = failed(failed(top(), Rung.TENSORRT, is_gpu_lost=True), Rung.ONNX_CPU)
    assert ladder.engine is Rung.ONNX_CPU
    assert failed(start((Rung.ONNX_CPU,), parameters=PARAMETERS), Rung.TENSORRT).engine is Rung.ONNX_CPU


def test_a_ladder_without_engines_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        start((), parameters=PARAMETERS)


def test_the_gpu_is_taken_back_after_three_good_probes_in_a_row() -> None:
    ladder = failed(top(), Rung.TENSORRT, is_gpu_lost=True)
    ladder = probed(ladder, Rung.TENSORRT, times=2)
    ladder = probed(ladder, Rung.TENSORRT, is_good=False)
    ladder = probed(ladder, Rung.TENSORRT, times=2)
    assert ladder.engine is Rung.ONNX_CPU
    ladder = probed(ladder, Rung.TENSORRT)
    assert degradations(ladder) == ()


def test_the_better_half_may_come_back_first_and_its_reason_is_that_of_the_other() -> None:
    ladder = failed(top(), Rung.TENSORRT, "the GPU has no memory left", is_gpu_lost=True)
    assert better(ladder) == (Rung.TENSORRT, Rung.ONNX_CUDA)
    ladder = failed(ladder, Rung.TENSORRT, "its plan is corrupt")
    ladder = probed(ladder, Rung.ONNX_CUDA, times=3)
    assert degradations(ladder) == (Degradation(rung=Rung.ONNX_CUDA, reason="its plan is corrupt"),)
    assert better(ladder) == (Rung.TENSORRT,)


def test_a_probe_of_the_engine_that_answers_already_says_nothing() -> None:
    assert probed(top(), Rung.TENSORRT, times=5) == top()


def test_load_goes_down_rung_by_rung_and_alarms_go_last() -> None:
    ladder, steps = top(), []
    for step in range(80):
        ladder = looked(ladder, begin_s=step * LOOK_S, end_s=step * LOOK_S, queue_age_s=1.0)
        relief = RELIEFS[ladder.relief]
        steps.append((relief.rung, min((p for p in range(11) if relief.serves(priority=p, seq=0)), default=None)))
    seen = list(dict.fromkeys(steps))
    assert seen == [
        (None, 0),
        (Rung.SMALLER_INPUT, 0),
        (Rung.FEWER_FRAMES, 0),
        *((Rung.SHED, lowest) for lowest in (2, 4, 6, 8, 10, None)),
    ]
    assert words(degradations(ladder)) == "shed: frames wait longer than 0.15 s for the model"


def test_a_moment_of_pressure_changes_nothing() -> None:
    ladder = looked(top(), begin_s=0, end_s=0.25, queue_age_s=1.0)
    ladder = looked(ladder, begin_s=0.5, end_s=0.5)
    ladder = looked(ladder, begin_s=0.75, end_s=1.0, queue_age_s=1.0)
    assert degradations(ladder) == ()


def test_load_never_leads_to_the_cpu() -> None:
    ladder = looked(top(), begin_s=0, end_s=60, queue_age_s=9.0, cpu_load=1.0, vram_ratio=1.0)
    assert ladder.engine is Rung.TENSORRT
    assert rungs(ladder) == [Rung.SHED]


def test_a_hot_cpu_presses_only_where_it_does_the_work() -> None:
    hot = {"begin_s": 0.0, "end_s": 1.0, "cpu_load": 0.9}
    assert rungs(looked(top(), **hot)) == []
    on_cpu = failed(top(), Rung.TENSORRT, "lost", is_gpu_lost=True)
    relieved = looked(on_cpu, **hot)
    assert words(degradations(relieved)) == "onnxruntime_cpu: lost; smaller_input: the CPU is more than 85% busy"


def test_full_vram_asks_for_smaller_pictures_and_for_no_more() -> None:
    ladder = looked(top(), begin_s=0, end_s=30, vram_ratio=0.95)
    assert rungs(ladder) == [Rung.SMALLER_INPUT]
    assert rungs(looked(ladder, begin_s=31, end_s=60, vram_ratio=0.90)) == [Rung.SMALLER_INPUT]
    assert rungs(looked(ladder, begin_s=31, end_s=60, vram_ratio=0.80)) == []


def test_a_model_of_one_size_skips_the_smaller_input_and_full_vram_asks_it_for_nothing() -> None:
    ladder = start(ENGINES, reliefs=AT_FULL_SIZE, parameters=PARAMETERS)
    assert {relief.input_ratio for relief in AT_FULL_SIZE} == {1.0}
    assert rungs(looked(ladder, begin_s=0, end_s=1, queue_age_s=1.0)) == [Rung.FEWER_FRAMES]
    assert rungs(looked(ladder, begin_s=0, end_s=30, vram_ratio=0.95)) == []
    down = looked(ladder, begin_s=0, end_s=60, queue_age_s=1.0)
    assert down.relief == len(AT_FULL_SIZE) - 1
    assert rungs(looked(down, begin_s=60, end_s=60 + MAX_RECOVERY_S)) == []


def test_deadlines_that_pass_are_pressure_however_short_the_queue_is() -> None:
    ladder = looked(top(), begin_s=0, end_s=1, missed=1)
    assert words(degradations(ladder)) == "smaller_input: deadlines pass before the model comes to the frames"
    assert looked(ladder, begin_s=1.25, end_s=1.25 + PARAMETERS.calm_s).relief == 0


def test_it_comes_back_up_step_by_step_after_calm_for_each() -> None:
    ladder = looked(top(), begin_s=0, end_s=4, queue_age_s=1.0)
    assert ladder.relief == 3
    assert looked(ladder, begin_s=5, end_s=5 + PARAMETERS.calm_s - LOOK_S).relief == 3
    assert looked(ladder, begin_s=5, end_s=5 + PARAMETERS.calm_s).relief == 2
    assert looked(ladder, begin_s=5, end_s=5 + 3 * PARAMETERS.calm_s).relief == 0


def test_from_anywhere_it_is_back_up_in_time_whatever_went_before() -> None:
    ladder = top()
    for turn in range(40):  # flaps for so long that every wait is the longest
        ladder = looked(ladder, begin_s=10.0 * turn, end_s=10.0 * turn + 8.5)
        ladder = looked(ladder, begin_s=10.0 * turn + 8.75, end_s=10.0 * turn + 9.5, queue_age_s=1.0)
    assert ladder.wait_s == PARAMETERS.max_calm_s
    ladder = looked(ladder, begin_s=400, end_s=419, queue_age_s=1.0)
    assert ladder.relief == len(RELIEFS) - 1
    assert degradations(looked(ladder, begin_s=420, end_s=420 + MAX_RECOVERY_S)) == ()


def test_waiting_that_is_neither_short_nor_too_long_changes_nothing() -> None:
    ladder = looked(top(), begin_s=0, end_s=4, queue_age_s=1.0)
    assert looked(ladder, begin_s=5, end_s=60, queue_age_s=0.1).relief == ladder.relief


def changes_under(world: Callable[[Ladder], float], *, parameters: LadderParameters = PARAMETERS) -> int:
    """How often the relief changes in ten minutes in a world that makes frames wait according to it."""
    ladder, changes = start(ENGINES, parameters=parameters), 0
    for step in range(2400):
        after = transition(ladder, LoadSeen(now_s=step * LOOK_S, queue_age_s=world(ladder)), parameters=parameters)
        changes += after.relief != ladder.relief
        ladder = after
    return changes


def overloaded_at_the_top(ladder: Ladder) -> float:
    """Frames wait at the top and nowhere else."""
    return 1.0 if ladder.relief == 0 else 0.0


def test_a_climb_that_fails_is_tried_more_rarely() -> None:
    assert changes_under(overloaded_at_the_top) < 150


def test_the_check_finds_a_ladder_without_damping() -> None:
    undamped = LadderParameters(max_calm_s=PARAMETERS.calm_s)
    assert changes_under(overloaded_at_the_top, parameters=undamped) > 400


@pytest.mark.parametrize("relief", RELIEFS)
def test_alarms_keep_every_frame_until_nothing_else_is_served(relief: Relief) -> None:
    lower = [p for p in range(10) if any(relief.serves(priority=p, seq=s) for s in range(2))]
    alarms = [relief.serves(priority=10, seq=s) for s in range(10)]
    assert all(alarms) or (not any(alarms) and lower == [])
    assert lower == list(range(10))[10 - len(lower) :]


EVENTS = st.lists(
    st.one_of(
        st.builds(EngineFailed, rung=st.sampled_from(Rung), reason=st.just("why"), is_gpu_lost=st.booleans()),
        st.builds(Probed, rung=st.sampled_from(Rung), is_good=st.booleans()),
        st.builds(
            LoadSeen,
            now_s=st.just(0.0),
            queue_age_s=st.sampled_from([0.0, 0.1, 1.0]),
            cpu_load=st.floats(0, 1),
            vram_ratio=st.floats(0, 1),
        ),
    ),
    max_size=80,
)


@given(EVENTS)
def test_under_any_history_the_rungs_are_moved_by_what_may_move_them_and_each_has_its_words(
    events: list[EngineFailed | Probed | LoadSeen],
) -> None:
    ladder = top()
    for step, event in enumerate(events):
        before = ladder
        timed = LoadSeen(
            **{name: getattr(event, name, 0.0) for name in ("queue_age_s", "cpu_load", "vram_ratio")},
            now_s=0.6 * step,
        )
        ladder = transition(ladder, {LoadSeen: timed}.get(type(event), event), parameters=PARAMETERS)
        moved = ENGINES.index(ladder.engine) - ENGINES.index(before.engine)
        assert moved <= 0 or isinstance(event, EngineFailed)
        assert moved >= 0 or isinstance(event, Probed)
        assert abs(ladder.relief - before.relief) <= isinstance(event, LoadSeen)
        assert all(one.reason for one in degradations(ladder))
        assert bool(degradations(ladder)) == (ladder.engine is not Rung.TENSORRT or ladder.relief > 0)
