"""Stages keep up with what the detectors are planned for, by what a frame costs them."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.stage_plan import StageParameters, follow

PLAIN = StageParameters(cores=1.0, fill=0.7, min_qps=1.0, spare=1.25)


@pytest.mark.parametrize(
    ("busy_cores", "planned_qps", "ordered", "replicas"),
    [
        (0.5, 100.0, 1, 1),  # 5 ms a frame, half a core
        (0.5, 140.0, 1, 1),  # 0.7 of a core: just full
        (0.5, 141.0, 1, 2),
        (0.5, 420.0, 1, 3),
        (0.5, 140.0, 4, 2),  # with a quarter more it would be two
        (0.5, 112.0, 4, 1),
        (0.0, 500.0, 3, 1),
        (None, 500.0, 3, 3),
        (nan, 500.0, 3, 3),
        (inf, 500.0, 3, 3),
        (-0.1, 500.0, 3, 3),
    ],
)
def test_replicas_follow_the_cost_of_a_frame(
    busy_cores: float | None, planned_qps: float, ordered: int, replicas: int
) -> None:
    plan = follow(busy_cores=busy_cores, qps=100.0, planned_qps=planned_qps, ordered=ordered, parameters=PLAIN)
    assert plan.replicas == replicas


def test_the_cost_is_told_and_is_none_without_frames() -> None:
    assert follow(busy_cores=0.5, qps=100.0, planned_qps=1.0, ordered=1, parameters=PLAIN).cost_s == 0.005
    assert follow(busy_cores=0.5, qps=0.9, planned_qps=1.0, ordered=2, parameters=PLAIN).cost_s is None


@given(st.floats(0, 64), st.floats(1, 1e4), st.floats(0, 1e5), st.integers(1, 100))
def test_the_plan_holds_what_is_planned_and_comes_to_rest(
    busy_cores: float, qps: float, planned_qps: float, ordered: int
) -> None:
    plan = follow(busy_cores=busy_cores, qps=qps, planned_qps=planned_qps, ordered=ordered, parameters=PLAIN)
    held = busy_cores / qps * max(planned_qps, qps) / plan.replicas
    assert held <= 0.7 * (1 + 1e-6) + 1e-6
    again = follow(busy_cores=busy_cores, qps=qps, planned_qps=planned_qps, ordered=plan.replicas, parameters=PLAIN)
    assert again.replicas == plan.replicas


@given(st.floats(0.9, 1.1))
def test_a_cost_that_moves_a_little_moves_no_replica_after_the_first_time(noise: float) -> None:
    settled = follow(busy_cores=2.2, qps=100.0, planned_qps=100.0, ordered=4, parameters=PLAIN).replicas
    assert settled == 4
    moved = follow(busy_cores=2.2 * noise, qps=100.0, planned_qps=100.0, ordered=settled, parameters=PLAIN)
    assert moved.replicas == settled


def test_a_stage_of_no_cores_is_refused() -> None:
    with pytest.raises(ValueError, match="cores"):
        StageParameters(cores=0.0)
