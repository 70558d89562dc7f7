"""The simulator of a cluster: frames and hours add up, the rules do what theirs do, and planted faults are caught."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.policy.autoscaling import ScalingState, decide
from load_tests.autoscale import is_no_worse, misses
from load_tests.simulate import (
    Make,
    hpa_like,
    keda_like,
    most_replicas,
    ours,
    serve_default,
    simulate,
    without_hysteresis,
)
from load_tests.simulate_account import Order, most_within, reversals_s, scale_out_s
from load_tests.simulate_plant import Fleet, PlantParameters, Second, late_share
from load_tests.simulate_rules import (
    REACH,
    History,
    HpaLike,
    KedaLike,
    Never,
    Ours,
    ServeDefault,
    calibrated,
    mean,
    to_the_letter,
)
from load_tests.simulate_traces import TRACES, Trace, flash_crowd, steady

PLANT = PlantParameters()
FLASH = Trace(name="flash", seconds=1800, curve=flash_crowd)
CALM = Trace(name="calm", seconds=900, curve=steady)


def seen_at(offered_hz: float, *, seconds: int = 600, running: int = 1, ongoing: float = 0.0) -> History:
    history = History()
    answered = min(offered_hz, running * PLANT.capacity_hz)
    second = Second(offered=offered_hz, answered=answered, late=0.0, shed=offered_hz - answered, ongoing=ongoing)
    for _ in range(seconds):
        history.add(second, running=running)
    return history


def orders(*replicas: int, every_s: float = 60.0) -> list[Order]:
    pairs = pairwise(replicas)
    return [Order(at_s=every_s * index, before=a, after=b) for index, (a, b) in enumerate(pairs)]


@given(
    offered=st.lists(st.floats(0, 5000), min_size=1, max_size=60),
    replicas=st.integers(0, 8),
    wanted=st.lists(st.integers(1, 12), min_size=60, max_size=60),
    life_s=st.sampled_from([20.0, float("inf")]),
)
@settings(deadline=None, max_examples=60)
def test_every_frame_is_answered_shed_or_waits(
    offered: list[float], replicas: int, wanted: list[int], life_s: float
) -> None:
    plant = PlantParameters(node_start_s=5, model_load_s=1, node_life_s=life_s)
    fleet = Fleet(plant, replicas=replicas, seed=1)
    left = 0.0
    for now_s, frames in enumerate(offered):
        second = fleet.second(frames, now_s=float(now_s))
        left += second.offered - second.answered - second.shed
        assert 0 <= second.late <= second.answered <= fleet.running * plant.capacity_hz + 1e-9
        assert -1e-6 <= left <= fleet.running * plant.capacity_hz * plant.slo_s + 1e-6
        fleet.order(wanted[now_s], now_s=float(now_s))
        assert fleet.ordered == wanted[now_s]
        assert min(fleet.running, fleet.starting) >= 0


def test_a_replica_runs_after_its_node_and_its_model_have_started() -> None:
    fleet = Fleet(PLANT, replicas=1, seed=1)
    fleet.order(3, now_s=0.0)
    fleet.second(0.0, now_s=159.0)
    assert (fleet.running, fleet.starting) == (1, 2)
    fleet.second(0.0, now_s=160.0)
    assert (fleet.running, fleet.starting) == (3, 0)


def test_what_would_be_ready_last_ends_first() -> None:
    fleet = Fleet(PLANT, replicas=1, seed=1)
    fleet.order(3, now_s=0.0)
    fleet.order(6, now_s=100.0)
    fleet.order(2, now_s=110.0)
    fleet.second(0.0, now_s=160.0)
    assert (fleet.running, fleet.starting) == (2, 0)


def test_a_node_that_fails_takes_its_replicas_along_and_they_start_again() -> None:
    plant = PlantParameters(node_life_s=1000.0, gpus_per_node=4)
    fleet = Fleet(plant, replicas=400, seed=1)
    for now_s in range(100):
        fleet.second(0.0, now_s=float(now_s))
    assert fleet.ordered == 400
    assert fleet.failed == fleet.starting
    assert fleet.failed % 4 == 0
    assert 20 <= fleet.failed <= 70  # ten of the hundred nodes are expected


def test_hardly_anybody_is_late_with_room_and_many_are_without() -> None:
    assert late_share(200.0, replicas=1, parameters=PLANT) == 0
    assert late_share(340.0, replicas=1, parameters=PLANT) < 1e-3
    assert late_share(399.0, replicas=1, parameters=PLANT) > 0.5
    assert late_share(39_900.0, replicas=100, parameters=PLANT) < late_share(399.0, replicas=1, parameters=PLANT)


def test_a_mean_is_of_its_window_or_of_what_there_is() -> None:
    sums = [0.0, 1.0, 3.0, 6.0]
    assert mean(sums, 2) == 2.5
    assert mean(sums, 10) == 2.0
    assert mean([0.0], 5) == 0.0


@pytest.mark.parametrize("gpus", [1, 100, 10_000])
def test_a_trace_is_the_same_for_the_same_seed_and_fits_its_size(gpus: int) -> None:
    offered_hz = FLASH.offered_hz(gpus, seed=3)
    assert offered_hz == FLASH.offered_hz(gpus, seed=3)
    assert offered_hz != FLASH.offered_hz(gpus, seed=4)
    assert 0.6 < max(offered_hz) / (gpus * PLANT.capacity_hz) < 1.0
    assert most_replicas(gpus) * PLANT.capacity_hz > max(offered_hz)


@pytest.mark.parametrize("trace", TRACES.values(), ids=list(TRACES))
def test_no_trace_offers_less_than_nothing_or_more_than_its_gpus_can(trace: Trace) -> None:
    offered_hz = replace(trace, seconds=3600).offered_hz(1000, seed=1)
    assert min(offered_hz) >= 0
    assert max(offered_hz) < 1000 * trace.plant.capacity_hz


def test_a_reversal_is_an_order_the_other_way() -> None:
    assert reversals_s(orders(1, 2, 4, 3, 2, 5)) == [120.0, 240.0]
    assert reversals_s(orders(1, 2, 2, 3)) == []
    assert reversals_s([]) == []


def test_the_worst_ten_minutes_are_found_wherever_they_are() -> None:
    assert most_within([0.0, 599.0, 600.0, 2000.0]) == 2
    assert most_within([0.0, 10.0, 20.0, 1000.0]) == 3
    assert most_within([]) == 0


def test_the_time_to_scale_out_is_the_longest_wait_for_an_order_of_more() -> None:
    changes = orders(4, 3, 5, 4, 6)  # in at 0 s, out at 60 s, in at 120 s, out at 180 s
    assert scale_out_s([10.0, 150.0], changes, end_s=900.0) == 50.0
    assert scale_out_s([200.0], changes, end_s=900.0) == 700.0
    assert scale_out_s([], changes, end_s=900.0) == 0.0


def test_the_score_is_at_its_thresholds_where_the_plant_is_said_to_be() -> None:
    parameters = calibrated(PLANT, max_replicas=100)
    for share, expected in ((REACH, 1.15), (REACH * 0.75 / 1.15, 0.75)):
        rule = Ours(parameters, PLANT)
        signals = rule.signals(seen_at(share * PLANT.capacity_hz), running=1)
        told = decide(signals, ScalingState(), parameters, now_s=0.0, running=1, ordered=1)
        assert told.load is not None
        assert told.load.score == pytest.approx(expected)
    weights = [parameters.weight_qps, parameters.weight_vram, parameters.weight_pcie]
    assert [weight / sum(weights) for weight in weights] == pytest.approx([0.4, 0.35, 0.25])


def test_the_letter_of_the_row_keeps_its_weights() -> None:
    parameters = to_the_letter(PLANT, max_replicas=100)
    weights = (parameters.weight_qps, parameters.weight_vram, parameters.weight_pcie)
    assert weights == (0.4, 0.35, 0.25)
    assert (parameters.out_score, parameters.in_score, parameters.in_qps_ratio) == (1.15, 0.75, 0.65)


def test_serve_changes_nothing_before_its_delays() -> None:
    rule = ServeDefault(target_ongoing=2.0, max_replicas=10)
    busy, idle = seen_at(100, ongoing=8.0), seen_at(100, ongoing=2.0)
    asked = [rule.replicas(busy, now_s=float(s), running=1, ordered=1) for s in range(31)]
    assert asked == [1] * 30 + [4]
    asked = [rule.replicas(idle, now_s=float(s), running=4, ordered=4) for s in range(31, 632)]
    assert asked == [4] * 600 + [1]


def test_a_flip_starts_serves_delay_again() -> None:
    rule = ServeDefault(target_ongoing=2.0, max_replicas=10)
    busy, level = seen_at(100, ongoing=8.0), seen_at(100, ongoing=2.0)
    for now_s in (0.0, 29.0):
        assert rule.replicas(busy, now_s=now_s, running=1, ordered=1) == 1
    assert rule.replicas(level, now_s=29.5, running=1, ordered=1) == 1
    assert rule.replicas(busy, now_s=30.0, running=1, ordered=1) == 1


def test_the_hpa_has_a_tolerance_a_largest_step_and_five_minutes_memory() -> None:
    rule = HpaLike(target_hz=100.0, max_replicas=100)
    assert rule.replicas(seen_at(1090), now_s=0.0, running=10, ordered=10) == 10
    assert rule.replicas(seen_at(1200), now_s=15.0, running=10, ordered=10) == 12
    assert rule.replicas(seen_at(9000), now_s=30.0, running=10, ordered=10) == 20
    assert rule.replicas(seen_at(300), now_s=45.0, running=20, ordered=20) == 20
    assert rule.replicas(seen_at(300), now_s=346.0, running=20, ordered=20) == 3


def test_keda_has_a_threshold_a_tolerance_and_a_pause_before_it_goes_in() -> None:
    rule = KedaLike(threshold_hz=100.0, max_replicas=100)
    assert rule.replicas(seen_at(430), now_s=0.0, running=4, ordered=4) == 4
    assert rule.replicas(seen_at(1001), now_s=30.0, running=4, ordered=4) == 11
    assert rule.replicas(seen_at(500), now_s=60.0, running=11, ordered=11) == 11
    assert rule.replicas(seen_at(500), now_s=330.0, running=11, ordered=11) == 5


def test_a_flash_crowd_is_answered_by_more_replicas_within_two_control_periods() -> None:
    account = simulate(FLASH, ours(), gpus=100).account()
    assert 0 < account.scale_out_s <= 10
    assert account.reversals == 0


@pytest.mark.parametrize("make", [ours(), serve_default(), hpa_like(), keda_like()])
def test_nobody_reverses_under_a_steady_load_of_many(make: Make) -> None:
    assert simulate(CALM, make, gpus=1000).account().reversals == 0


def test_a_policy_without_hysteresis_is_caught_by_its_reversals() -> None:
    account = simulate(CALM, without_hysteresis, gpus=100).account()
    assert account.reversals_per_10min > 5
    assert account.most_reversals > 5


def test_a_policy_that_never_scales_is_caught_by_its_frames() -> None:
    account = simulate(FLASH, lambda _plant, _most: Never(), gpus=10).account()
    assert account.violations > 0.3
    assert account.short_s > 800
    assert account.scale_out_s > 800


def test_who_is_told_what_was_answered_loses_more_of_a_flash_crowd() -> None:
    told = simulate(FLASH, ours(sees_offered=False), gpus=100).account()
    assert told.violations > 1.2 * simulate(FLASH, ours(), gpus=100).account().violations


def test_hours_are_those_that_were_ordered() -> None:
    run = simulate(FLASH, ours(), gpus=10, keeps=True)
    assert run.account().gpu_hours == pytest.approx(sum(ordered for _, _, ordered in run.seconds) / 3600)


def test_no_worse_means_neither_more_frames_lost_nor_more_hours() -> None:
    account = simulate(CALM, ours(), gpus=10).account()
    assert is_no_worse(account, account)
    assert not is_no_worse(replace(account, gpu_hours=account.gpu_hours + 0.1), account)
    assert not is_no_worse(replace(account, violations=account.violations + 0.001), account)


REACHED = {
    "reversals_per_10min": 0.5,
    "scale_out_periods": 2.0,
    "pairs": 90,
    "no_worse": 90,
    "front_pairs": 54,
    "front_no_worse": 54,
    "policy_ticks_per_s": 2e6,
    "control_reversals_per_10min": 40.0,
    "control_never_violations": 0.5,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reversals_per_10min", 1.1),
        ("scale_out_periods", 3.0),
        ("no_worse", 89),
        ("front_no_worse", 53),
        ("policy_ticks_per_s", 1e5),
        ("control_reversals_per_10min", 0.0),
        ("control_never_violations", 0.0),
    ],
)
def test_each_aim_that_is_missed_is_told(name: str, value: float) -> None:
    assert misses(REACHED) == []
    assert len(misses({**REACHED, name: value})) == 1
