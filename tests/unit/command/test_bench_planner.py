"""The planner of `sightline bench cameras` finds the number that is held, in few trials."""

from math import inf, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.command.bench_planner import Bisection, Trial, prediction

STAGES = {"decode_s": 0.002, "preprocess_s": 0.001, "queue_s": 9.0, "inference_s": 0.016, "postprocess_s": 0.001}


def trial(latency_p99_s: float, *, captured: int = 100, late_s: float = 0.0, share: float = 0.1) -> Trial:
    return Trial(
        cameras=1,
        latency_p50_s=0.1,
        latency_p99_s=latency_p99_s,
        captured=captured,
        answered=captured,
        late_p99_s=late_s,
        client_share=share,
    )


@given(limit=st.integers(0, 300), most=st.integers(1, 256))
def test_the_number_that_is_held_is_found_and_none_is_tried_twice(limit: int, most: int) -> None:
    plan = Bisection(most=most)
    while (cameras := plan.following()) is not None:
        plan.told(cameras, is_held=cameras <= limit)
    assert plan.held == min(limit, most)
    assert len(set(plan.tried)) == len(plan.tried)
    assert max(plan.tried) <= most
    assert len(plan.tried) <= 2 * log2(max(2, plan.held)) + 3


def test_a_service_that_holds_no_camera_is_asked_for_one_and_no_more() -> None:
    plan = Bisection(most=64)
    plan.told(plan.following() or 0, is_held=False)
    assert (plan.held, plan.following(), plan.tried) == (0, None, [1])


@pytest.mark.parametrize(("p99_s", "is_held"), [(0.25, True), (0.2501, False), (inf, False)])
def test_a_trial_is_held_when_its_p99_is_within_the_slo(p99_s: float, is_held: bool) -> None:  # noqa: FBT001
    assert trial(p99_s).is_held(0.25) is is_held


def test_a_trial_without_frames_is_not_held() -> None:
    assert not trial(0.0, captured=0).is_held(0.25)


@pytest.mark.parametrize(
    ("found", "is_doubtful"),
    [
        (trial(0.30, late_s=0.03), True),
        (trial(0.40, late_s=0.03), False),
        (trial(0.40, share=0.9), True),
        (trial(0.20, late_s=0.1, share=0.9), False),
        (trial(inf, late_s=0.1), False),
    ],
)
def test_a_client_that_may_have_spoilt_a_trial_is_noticed(found: Trial, is_doubtful: bool) -> None:  # noqa: FBT001
    assert found.is_about_the_client(0.25) is is_doubtful


def test_the_prediction_counts_work_and_no_waiting() -> None:
    found = prediction([STAGES, STAGES], cores=2, fps=15.0)
    assert found.frame_s == pytest.approx(0.020)
    assert found.frames_per_s == pytest.approx(100.0)
    assert found.cameras == pytest.approx(100 / 15)
    assert found.ratio(5) == pytest.approx(0.75)


def test_without_timings_nothing_is_predicted() -> None:
    assert prediction([], cores=2, fps=15.0).ratio(5) == 0
