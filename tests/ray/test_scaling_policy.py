"""The policy as Serve calls it, and as Serve wraps it; without a cluster."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.config import AutoscalingPolicy

from app.core import metrics as table
from app.core.load_signals import LoadSignals
from deployments import scaling_board
from deployments.autoscaling import ScalingPolicy
from deployments.load_report import Arrivals, Busy, LoadReport
from tests.fakes import ManualClock
from tests.scaling_contexts import Context, FakeBoard, Key

DETECTOR, DECODER, TRACKER = Key("Detector"), Key("Decoder"), Key("Tracker")


class Asked:
    """A policy of a target of ten frames per second, its clock and its board."""

    def __init__(self, **numbers: Any) -> None:
        self.clock = ManualClock()
        self.board = FakeBoard()
        given = {"target_qps": 10.0, "cooldown_s": 0.0, "in_cooldown_s": 0.0, **numbers}
        self.policy = ScalingPolicy(board=self.board, clock=self.clock, **given)  # type: ignore[arg-type]

    def __call__(self, contexts: dict[Any, Any]) -> dict[Any, float]:
        self.clock.now_s += 1.0
        decided, state = self.policy(contexts)
        assert state == {}
        return decided


def told(qps: float, **more: float) -> dict[str, float]:
    return {"qps": qps, "vram_used": 0.0, "vram_dynamic": 0.0, "pcie": 0.0, "busy_cores": 0.5, **more}


def detectors(*qps: float, **context: Any) -> dict[Key, Context]:
    stats = {f"replica-{place}": told(rate) for place, rate in enumerate(qps)}
    counts = {"current_num_replicas": len(qps), "target_num_replicas": len(qps)}
    return {DETECTOR: Context(deployment_name="Detector", told=stats, **{**counts, **context})}


def test_a_detector_goes_out_by_its_load_in_floats() -> None:
    asked = Asked()
    decided = asked(detectors(60.0))
    assert decided == {DETECTOR: 3.0}
    assert type(decided[DETECTOR]) is float


def test_stages_follow_the_plan_of_the_detector_by_their_cost() -> None:
    """60 frames/s keep half a core of each stage busy; three detectors of ten are no more than what comes now."""
    asked = Asked(target_qps=30.0)
    stages = {
        DECODER: Context(deployment_name="Decoder", told={"d": {"busy_cores": 0.9}}),
        TRACKER: Context(deployment_name="Tracker", told={"t": {"busy_cores": 0.1}}, target_num_replicas=1),
        Key("Preprocessor"): Context(deployment_name="Preprocessor"),
    }
    decided = asked({**detectors(90.0, 90.0), **stages})
    assert decided[DETECTOR] == 3.0
    assert decided[DECODER] == 2.0, "0.9 of a core for 180 frames/s"
    assert decided[TRACKER] == 1.0
    assert decided[Key("Preprocessor")] == 1.0, "it tells nothing, and stays"
    assert asked.board.last["stages"]["Decoder"]["cost_s"] == pytest.approx(0.005)


def test_what_waits_counts_as_load() -> None:
    assert Asked()(detectors(20.0)) == {DETECTOR: 1.0}
    assert Asked()(detectors(20.0, total_queued_requests=100.0)) == {DETECTOR: 2.0}


def test_between_two_periods_nothing_is_decided() -> None:
    asked = Asked(period_s=5.0)
    assert asked(detectors(60.0)) == {DETECTOR: 3.0}
    assert asked(detectors(60.0)) == {}
    asked.clock.now_s += 5.0
    assert asked(detectors(60.0)) == {DETECTOR: 3.0}


def test_a_dry_run_decides_and_explains_and_orders_nothing() -> None:
    asked = Asked(dry_run=True)
    for _ in range(3):
        assert asked(detectors(60.0)) == {}
        assert (asked.board.last["verdict"], asked.board.last["replicas"]) == ("out", 3)
        assert asked.board.last["dry_run"] is True


def test_knobs_of_user_config_reach_the_policy_with_the_load() -> None:
    report = LoadReport()
    report.turn({"autoscaling": {"target_qps": 100.0, "dry_run": True}})
    asked = Asked()
    contexts = {DETECTOR: Context(deployment_name="Detector", told={"a": {**report.stats(), "qps": 300.0}})}
    assert asked(contexts) == {}
    assert asked.board.last["parameters"]["target_qps"] == 100.0
    assert asked.board.last["replicas"] == 2
    report.turn({})
    contexts[DETECTOR].told = {"a": {**report.stats(), "qps": 300.0}}
    assert asked(contexts) == {DETECTOR: 5.0}, "ten again, and one step of four"


def test_while_replicas_are_reconfigured_the_newest_tell_the_knobs() -> None:
    asked = Asked(dry_run=True)
    stats = {"old": told(1.0, **{"knob.target_qps": 5.0}), "new": told(1.0, **{"knob.target_qps": 7.0})}
    context = Context(deployment_name="Detector", told=stats, told_s={"old": 1.0, "new": 2.0})
    asked({DETECTOR: context})
    assert asked.board.last["parameters"]["target_qps"] == 7.0


def test_knobs_that_contradict_the_policys_numbers_are_told_and_left_out() -> None:
    asked = Asked()
    stats = {"a": told(60.0, **{"knob.in_score": 2.0})}
    contexts = {DETECTOR: Context(deployment_name="Detector", told=stats)}
    assert asked(contexts) == {DETECTOR: 3.0}
    assert "in this order" in asked.board.last["problem"]
    contexts[DETECTOR].told = {"a": told(60.0)}
    asked(contexts)
    assert asked.board.last["problem"] == ""


def test_wrong_numbers_of_the_policy_leave_the_built_in_ones_and_are_told() -> None:
    board = FakeBoard()
    policy = ScalingPolicy(board=board, targetqps=3.0, stage={"cores": -1.0})  # type: ignore[arg-type]
    policy(detectors(1.0))
    assert "there is no targetqps" in board.last["problem"]
    assert board.last["parameters"]["target_qps"] == 50.0


def test_bounds_are_serves_own() -> None:
    assert Asked()(detectors(900.0, capacity_adjusted_max_replicas=2)) == {DETECTOR: 2.0}
    assert Asked()(detectors(0.0, capacity_adjusted_min_replicas=2)) == {DETECTOR: 2.0}


def test_without_stats_everything_stays() -> None:
    asked = Asked()
    assert asked(detectors(current_num_replicas=0, target_num_replicas=3)) == {DETECTOR: 3.0}
    assert asked.board.last["cause"] == "no_signals"
    assert asked({DECODER: Context(deployment_name="Decoder")}) == {}


class Broken:
    """A context of which nothing can be read."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("contexts", [{DETECTOR: Broken()}, {DETECTOR: None}, None, 3, {DETECTOR: object()}])
def test_it_never_raises_and_always_returns_dicts(contexts: Any) -> None:
    """Finding 2 of facts/ray-serve.md: a policy that raises stops every application that is deployed after it."""
    assert Asked().policy(contexts) == ({}, {})


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.dictionaries(
            st.sampled_from(["qps", "vram_used", "vram_dynamic", "pcie", "busy_cores", "knob.out_score", "knob.x"]),
            st.floats(),
        ),
        max_size=3,
    ),
    st.integers(0, 1000),
    st.integers(-1, 10),
    st.floats(),
)
def test_whatever_replicas_tell_it_answers_with_floats_in_the_bounds(
    stats: dict[str, dict[str, float]], target: int, least: int, queued: float
) -> None:
    context = Context(
        deployment_name="Detector",
        told=stats,
        target_num_replicas=target,
        capacity_adjusted_min_replicas=least,
        total_queued_requests=queued,
    )
    asked = Asked()
    decided = asked({DETECTOR: context, DECODER: Context(deployment_name="Decoder", told=stats)})
    assert all(type(count) is float and count >= 1 for count in decided.values())
    json.dumps(asked.board.posted, allow_nan=False)


def test_serve_takes_the_policy_by_its_path_and_pickles_it() -> None:
    policy = AutoscalingPolicy(policy_function="deployments.autoscaling:ScalingPolicy", policy_kwargs={"target_qps": 7})
    made = policy.get_policy()(**policy.policy_kwargs)
    assert made({})[0] == {}


def test_a_dictionary_is_posted_that_json_takes() -> None:
    asked = Asked()
    asked(detectors(60.0, 20.0))
    assert asked.board.posted[-1][0] == "sightline"
    assert sum(term["term"] for term in asked.board.last["terms"]) == pytest.approx(asked.board.last["score"])


def test_terms_replicas_and_decisions_are_counted() -> None:
    asked = Asked()
    asked(detectors(60.0))
    asked(detectors(20.0, 20.0, 20.0))
    gauges, counters = asked.board.tally.snapshot().gauges, asked.board.tally.snapshot().counters
    assert gauges[table.AUTOSCALER_TERM, ("Detector", "qps")] == pytest.approx(0.8)
    assert gauges[table.AUTOSCALER_TERM, ("Detector", "score")] == pytest.approx(0.8)
    assert gauges[table.AUTOSCALER_REPLICAS, ("Detector", "running")] == 3
    assert counters[table.AUTOSCALER_DECISIONS, ("Detector", "out", "score", "none")] == 1
    assert counters[table.AUTOSCALER_DECISIONS, ("Detector", "hold", "between", "none")] == 1


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (None, {"enabled": False, "words": "this service has a fixed number of replicas: no policy decides"}),
        (b'{"posted_s": 98.5, "document": {"verdict": "out"}}', {"enabled": True, "age_s": 1.5, "verdict": "out"}),
        (b'{"posted_s": 100.5, "document": {}}', {"enabled": True, "age_s": 0.0}),  # another machine's clock
        (
            b'{"posted_s": 60, "document": {}}',
            {"enabled": False, "words": "nothing was decided for 40 s: no policy decides now"},
        ),
    ],
)
def test_what_is_posted_is_told_while_it_is_fresh(found: bytes | None, shown: dict[str, Any]) -> None:
    assert scaling_board.told(found, now_s=100.0) == shown


# What a replica tells


def test_stats_are_python_floats_and_nothing_else() -> None:
    """Serve looks at the first answer only, and for any other type never asks again."""
    report = LoadReport(lambda: LoadSignals(qps=1.0, vram_used=0.5, vram_dynamic=0.1, pcie=0.2))
    report.turn({"autoscaling": {"max_step": 2, "dry_run": False}})
    stats = report.stats()
    assert {type(value) for value in stats.values()} == {float}
    assert (stats["vram_used"], stats["vram_dynamic"], stats["pcie"]) == (0.5, 0.1, 0.2)
    assert (stats["knob.max_step"], stats["knob.dry_run"]) == (2.0, 0.0)


@pytest.mark.parametrize(
    "knobs", [{"out_scor": 1.0}, {"out_score": "high"}, {"dry_run": 1}, {"max_replicas": 3}, {"in_score": 3.0}]
)
def test_a_user_config_that_is_wrong_is_refused_and_turns_nothing(knobs: dict[str, Any]) -> None:
    report = LoadReport()
    report.turn({"autoscaling": {"target_qps": 3.0}})
    with pytest.raises(ValueError, match=r"out_sc|number|dry_run|max_replicas|order"):
        report.turn({"autoscaling": knobs})
    assert report.stats()["knob.target_qps"] == 3.0


@pytest.mark.parametrize("config", [None, {}, {"autoscaling": None}, {"another": 1}])
def test_a_user_config_without_knobs_turns_none(config: dict[str, Any] | None) -> None:
    report = LoadReport()
    report.turn(config)
    assert not [name for name in report.stats() if name.startswith("knob.")]


def test_arrivals_are_a_rate_over_a_window() -> None:
    clock = ManualClock()
    arrivals = Arrivals(clock=clock, window_s=2.0)
    assert arrivals.per_s() == 0.0
    clock.now_s += 1.0
    arrivals.note(6)
    assert arrivals.per_s() == pytest.approx(6.0)
    clock.now_s += 1.0
    arrivals.note(2)
    assert arrivals.per_s() == pytest.approx(4.0)
    clock.now_s += 1.5
    assert arrivals.per_s() == pytest.approx(1.0)
    clock.now_s += 10.0
    assert arrivals.per_s() == 0.0


def test_busy_cores_are_the_processors_time_over_the_clocks() -> None:
    clock, spent = ManualClock(), ManualClock()
    busy = Busy(clock=clock, spent=spent)
    assert busy.cores() == 0.0
    clock.now_s += 2.0
    spent.now_s += 3.0
    assert busy.cores() == pytest.approx(1.5)
    assert busy.cores() == pytest.approx(1.5), "no time has passed"
