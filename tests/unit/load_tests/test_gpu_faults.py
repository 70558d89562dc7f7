"""The checker of scenario `gpu-faults` passes what is well and finds what is planted, in real and in made cells."""

from dataclasses import replace
from functools import cache

import pytest

from app.policy.fault_plan import MAX_RECOVERY_S, Fault, GpuOom, StickyError
from app.policy.ladder import Rung
from load_tests.gpu_faults_record import CellRecord, End, Poll, Readable, Tick, Usual, Verdict, judge, usual
from load_tests.gpu_faults_world import Album, Sabotage, Service, VirtualTime

USUAL = Usual(relief=0, queue_age_s=0.15)


@cache
def album() -> Album:
    return Album()


def cell(fault: Fault, sabotage: Sabotage | None = None) -> Verdict:
    return judge(Service(album(), load=0.3, fault=fault, sabotage=sabotage).run(), USUAL)


@pytest.mark.parametrize("fault", [StickyError(), GpuOom(share=1.0)])
def test_a_real_cell_is_well_and_its_fault_is_noticed(fault: Fault) -> None:
    verdict = cell(fault)
    assert verdict.is_well
    assert not verdict.is_tolerated


def test_a_flag_that_is_hidden_is_found() -> None:
    verdict = cell(GpuOom(share=1.0), Sabotage(hides_flag=True))
    assert verdict.unflagged > 100
    assert not verdict.is_well


def test_a_readiness_that_lies_is_found() -> None:
    verdict = cell(StickyError(), Sabotage(lies_ready=True))
    assert verdict.false_ready > 10
    assert not verdict.is_well


def test_a_result_that_is_lost_with_its_process_is_found() -> None:
    verdict = cell(StickyError(), Sabotage(forgets_on_exit=True))
    assert verdict.lost > 100
    assert not verdict.is_well


def tick(at_s: float, *, engine: Rung | None = Rung.TENSORRT, relief: int = 0, queue_age_s: float = 0.0) -> Tick:
    return Tick(at_s=at_s, is_up=engine is not None, engine=engine, relief=relief, queue_age_s=queue_age_s)


def readable(**changes: object) -> Readable:
    sound = Readable(is_right=True, engine=Rung.TENSORRT, relief=None, degraded=None)
    return replace(sound, **changes)  # type: ignore[arg-type]


def made(kind: str = "gpu_oom", **changes: object) -> CellRecord:
    """Three frames, all answered; the fault is there from 10 s to 25 s."""
    record = CellRecord(
        load=0.3,
        kind=kind,
        captured=3,
        strike_s=10.0,
        fault_end_s=25.0,
        ends=[End(seq=seq, at_s=10.0 + seq, kind="result", reason="") for seq in range(3)],
        acknowledged=[0, 1, 2],
        readable={seq: readable() for seq in range(3)},
        polls=[Poll(at_s=11.0, said_ready=True, is_able=True)],
        ticks=[tick(10.0), tick(30.0)],
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_a_made_cell_is_well() -> None:
    verdict = judge(made(), USUAL)
    assert verdict.is_well
    assert verdict.is_tolerated


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"captured": 4}, "unended"),
        ({"captured": 2}, "unended"),
        ({"ends": made().ends + made().ends[:1]}, "unended"),
        ({"readable": {0: readable(), 1: readable()}}, "lost"),
        ({"readable": {0: readable(), 1: readable(), 2: readable(is_right=False)}}, "lost"),
        ({"polls": [Poll(at_s=11.0, said_ready=True, is_able=False)]}, "false_ready"),
        ({"readable": dict.fromkeys(range(3), readable(engine=Rung.ONNX_CPU))}, "unflagged"),
        ({"readable": dict.fromkeys(range(3), readable(relief=Rung.SHED))}, "unflagged"),
        (
            {"readable": dict.fromkeys(range(3), readable(engine=Rung.ONNX_CPU, degraded="smaller_input: why"))},
            "unflagged",
        ),
        ({"readable": dict.fromkeys(range(3), readable(degraded="shed: why"))}, "misflagged"),
    ],
)
def test_each_broken_promise_has_its_name(changes: dict[str, object], name: str) -> None:
    verdict = judge(made(**changes), USUAL)
    assert getattr(verdict, name) > 0
    assert not verdict.is_well


def test_a_flag_that_names_every_rung_is_right() -> None:
    both = readable(
        engine=Rung.ONNX_CPU, relief=Rung.SHED, degraded="onnxruntime_cpu: the GPU is lost; shed: frames wait"
    )
    assert judge(made(readable=dict.fromkeys(range(3), both)), USUAL).is_well


def test_the_time_to_find_ends_when_the_service_says_so() -> None:
    ticks = [tick(10.25, queue_age_s=0.4), tick(10.75, queue_age_s=0.4), tick(11.25, queue_age_s=0.4, relief=1)]
    assert judge(made(ticks=ticks), USUAL).detection_s == 1.25
    assert judge(made(ticks=ticks[:2]), USUAL).detection_s == float("inf")
    assert not judge(made(ticks=ticks[:2]), USUAL).is_well


def test_the_time_to_recover_ends_with_the_last_moment_that_is_worse_than_usual() -> None:
    ticks = [tick(11.0, engine=Rung.ONNX_CPU), tick(30.0), tick(46.0, engine=None), tick(47.0)]
    verdict = judge(made(ticks=ticks), USUAL)
    assert verdict.recovery_s == MAX_RECOVERY_S
    assert verdict.is_well
    assert not judge(made(ticks=[*ticks, tick(46.25, relief=1)]), USUAL).is_well


def test_a_fault_that_strikes_once_is_over_when_it_has_struck() -> None:
    ticks = [tick(10.25, engine=Rung.ONNX_CPU), tick(24.0, engine=None), tick(24.25)]
    assert judge(made("sticky_error", ticks=ticks), USUAL).recovery_s == 14.0


def test_a_fault_of_loading_strikes_with_the_load() -> None:
    ticks = [tick(12.0, engine=None), tick(24.25, engine=Rung.ONNX_CUDA), tick(33.0)]
    verdict = judge(made("corrupt_plan", restarts=[24.0], fault_end_s=30.0, ticks=ticks), USUAL)
    assert (verdict.detection_s, verdict.recovery_s) == (0.25, 0.0)


def test_the_usual_is_the_worst_of_a_cell_without_a_fault() -> None:
    control = made(ticks=[tick(1.0, queue_age_s=0.3), tick(2.0, relief=2)])
    assert usual(control) == Usual(relief=2, queue_age_s=0.3)
    assert judge(made(ticks=[tick(12.0, relief=2, queue_age_s=0.3)]), usual(control)).is_tolerated


def test_virtual_time_lets_things_happen_at_their_own_time_and_in_order() -> None:
    virtual, seen = VirtualTime(), []
    virtual.at(2.0, lambda: seen.append(("two", virtual())))
    virtual.every(1.5, lambda: seen.append(("tick", virtual())))
    virtual.sleep(3.0)
    assert seen == [("tick", 1.5), ("two", 2.0), ("tick", 3.0)]
    assert virtual() == 3.0
