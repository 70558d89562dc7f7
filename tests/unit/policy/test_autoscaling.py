"""When replicas go out and in: each branch and boundary of the rule, and that it neither runs away nor flaps."""

from dataclasses import replace
from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Cause, Decision, Guard, ScalingState, Verdict, decide
from app.policy.autoscaling_parameters import KNOBS, AutoscalingParameters, turned
from app.policy.load_score import load_of, pressure, vram_of_load

PLAIN = AutoscalingParameters(target_qps=100.0, max_replicas=100, cooldown_s=10.0, in_cooldown_s=300.0)
LONG_AGO = ScalingState()
RATIOS = st.floats(0, 1)


@st.composite
def signals(draw: st.DrawFn, *, most_qps: float = 1000.0) -> LoadSignals:
    used = draw(RATIOS)
    return LoadSignals(
        qps=draw(st.floats(0, most_qps)),
        vram_used=used,
        vram_dynamic=used * draw(RATIOS),
        pcie=draw(RATIOS),
    )


@st.composite
def states(draw: st.DrawFn) -> ScalingState:
    out_s = draw(st.sampled_from([-inf, -1000.0, -200.0, -5.0]))
    return ScalingState(
        changed_s=max(out_s, draw(st.sampled_from([-inf, -100.0, -3.0]))),
        out_s=out_s,
        calm=draw(st.integers(0, 3)),
        from_replicas=draw(st.integers(0, 5)),
        out_pressure=draw(st.floats(0, 5)),
        out_qps=draw(st.floats(0, 1e4)),
    )


def asked(
    load: LoadSignals | None,
    *,
    state: ScalingState = LONG_AGO,
    parameters: AutoscalingParameters = PLAIN,
    now_s: float = 0.0,
    running: int = 4,
    ordered: int = 4,
) -> Decision:
    return decide(load, state, parameters, now_s=now_s, running=running, ordered=ordered)


def made_of(*, qps_ratio: float = 0.0, vram: float = 0.0, pcie: float = 0.0) -> LoadSignals:
    """Signals of which all of the memory in use is the load's."""
    return LoadSignals(qps=qps_ratio * PLAIN.target_qps, vram_used=vram, vram_dynamic=vram, pcie=pcie)


# The rule


@given(signals())
def test_the_score_is_the_weighted_sum(load: LoadSignals) -> None:
    found = load_of(load, PLAIN)
    vram = load.vram_dynamic / max(1 - (load.vram_used - load.vram_dynamic), 0.05)
    assert found.score == pytest.approx(0.4 * load.qps / 100 + 0.35 * vram + 0.25 * load.pcie)


def test_the_numbers_of_the_rule_are_the_ones_of_its_source() -> None:
    p = AutoscalingParameters()
    assert (p.weight_qps, p.weight_vram, p.weight_pcie) == (0.40, 0.35, 0.25)
    assert (p.out_score, p.out_vram, p.out_pcie) == (1.15, 0.95, 0.82)
    assert (p.in_score, p.in_qps_ratio, p.in_confirmations) == (0.75, 0.65, 2)
    assert (p.safe_qps_ratio, p.warn_qps_ratio) == (0.90, 0.95)
    assert (p.safe_vram, p.warn_vram, p.safe_pcie, p.warn_pcie) == (0.85, 0.92, 0.70, 0.80)


@given(signals(), st.integers(1, 50))
def test_out_in_and_hold_are_exactly_the_rule(load: LoadSignals, replicas: int) -> None:
    """With nothing that stops a change, the verdict is what the three conditions say."""
    free = replace(PLAIN, cooldown_s=0.0, in_cooldown_s=0.0, in_confirmations=1, max_replicas=10_000)
    found = load_of(load, free)
    is_out = found.score > 1.15 or (found.vram > 0.95 and found.pcie > 0.82)
    is_in = not is_out and found.score < 0.75 and found.qps_ratio < 0.65
    decision = asked(load, parameters=free, running=replicas, ordered=replicas)
    assert (decision.verdict is Verdict.OUT) == is_out
    assert (decision.cause is Cause.CALM) == is_in
    assert (decision.cause is Cause.BETWEEN) == (not is_out and not is_in)
    assert (decision.verdict is Verdict.IN) == (is_in and decision.wanted < replicas)


@pytest.mark.parametrize(
    ("load", "cause"),
    [
        (made_of(qps_ratio=1.15 / 0.4), Cause.BETWEEN),
        (made_of(qps_ratio=1.16 / 0.4), Cause.SCORE),
        (made_of(vram=0.95, pcie=0.83), Cause.CALM),
        (made_of(vram=0.951, pcie=0.82), Cause.CALM),
        (made_of(vram=0.951, pcie=0.821), Cause.MEMORY_AND_LINK),
        (made_of(qps_ratio=0.65), Cause.BETWEEN),
        (made_of(qps_ratio=0.649), Cause.CALM),
        (made_of(qps_ratio=0.64, vram=0.8, pcie=0.82), Cause.CALM),  # 0.741
        (made_of(qps_ratio=0.64, vram=0.83, pcie=0.82), Cause.BETWEEN),  # 0.7515
    ],
)
def test_a_threshold_itself_is_not_beyond_it(load: LoadSignals, cause: Cause) -> None:
    assert asked(load).cause is cause


@given(signals(), states(), st.integers(1, 100), st.integers(0, 120))
def test_a_decision_keeps_to_bounds_and_to_the_largest_step(
    load: LoadSignals, state: ScalingState, ordered: int, running: int
) -> None:
    decision = asked(load, state=state, running=running, ordered=ordered)
    assert 1 <= decision.replicas <= 100
    assert abs(decision.replicas - ordered) <= max(4, ordered)
    assert (decision.verdict is Verdict.OUT) == (decision.replicas > ordered)
    assert (decision.verdict is Verdict.IN) == (decision.replicas < ordered)
    assert (decision.stopped_by is not None) <= (decision.replicas == ordered)


@given(signals(), st.integers(1, 100))
def test_what_goes_out_is_enough_or_the_step_or_the_bound_was(load: LoadSignals, ordered: int) -> None:
    decision = asked(load, running=ordered, ordered=ordered)
    if_out = decision.verdict is Verdict.OUT
    after = load_of(load, PLAIN, share=ordered / decision.replicas)
    is_limited = decision.replicas == min(ordered + max(4, ordered), 100)
    assert not if_out or is_limited or after.score <= PLAIN.aim_score + 1e-6
    fewer = load_of(load, PLAIN, share=ordered / max(decision.replicas - 1, 1))
    assert not if_out or decision.replicas == ordered + 1 or fewer.score > PLAIN.aim_score - 1e-6


@given(signals(), st.integers(2, 100))
def test_what_went_in_does_not_come_out_again_for_the_same_load(load: LoadSignals, ordered: int) -> None:
    calm = replace(LONG_AGO, calm=1)
    decision = asked(load, state=calm, running=ordered, ordered=ordered)
    is_in = decision.verdict is Verdict.IN
    after = load_of(load, PLAIN, share=ordered / decision.replicas)
    assert not is_in or pressure(after, PLAIN) <= 1 + 1e-6


@settings(max_examples=50)
@given(signals(most_qps=400.0), st.integers(1, 30))
def test_a_constant_load_comes_to_rest_within_a_few_changes_and_does_not_flap(load: LoadSignals, first: int) -> None:
    """The load spreads over all that run; the memory of weights stays on each."""
    static = load.vram_used - load.vram_dynamic
    state, ordered, verdicts = LONG_AGO, first, []
    for period in range(80):
        share = first / ordered
        dynamic = min(load.vram_dynamic * share, 1 - static)
        spread = LoadSignals(
            qps=load.qps * share,
            vram_used=min(static + dynamic, 1.0),
            vram_dynamic=dynamic,
            pcie=min(load.pcie * share, 1.0),
        )
        decision = asked(spread, state=state, now_s=10.0 * period, running=ordered, ordered=ordered)
        state, ordered = decision.state, decision.replicas
        verdicts.append(decision.verdict)
    changes = [verdict for verdict in verdicts if verdict is not Verdict.HOLD]
    turns = sum(a is not b for a, b in pairwise(changes))
    assert turns <= 1
    assert verdicts[-30:] == [Verdict.HOLD] * 30


@given(signals())
def test_more_load_never_orders_fewer(load: LoadSignals) -> None:
    calm = replace(LONG_AGO, calm=1)
    more = replace(load, qps=load.qps * 1.5 + 1)
    assert asked(more, state=calm).replicas >= asked(load, state=calm).replicas


# Dynamic memory


def test_static_memory_of_96_percent_orders_nothing_however_long_it_stays() -> None:
    """Source: settled reading 7. The rule as it is written would order replicas for ever."""
    load = LoadSignals(qps=50.0, vram_used=0.96, vram_dynamic=0.0, pcie=0.9)
    assert load.vram_used > PLAIN.out_vram, "the rule that counts all memory would go out"
    assert load.pcie > PLAIN.out_pcie, "the rule that counts all memory would go out"
    state, ordered = LONG_AGO, 4
    for second in range(0, 7200, 10):
        decision = asked(load, state=state, now_s=float(second), running=ordered, ordered=ordered)
        assert decision.verdict is not Verdict.OUT
        state, ordered = decision.state, decision.replicas
    assert ordered <= 4


def ordered_after_two_hours(parameters: AutoscalingParameters) -> tuple[int, set[Guard | None]]:
    """A meter that knows no weights: all 0.96 seem to be load, and stay however many replicas share the frames."""
    state, ordered, stopped = LONG_AGO, 1, set()
    for second in range(0, 7200, 10):
        load = LoadSignals(qps=10.0 / ordered, vram_used=0.96, vram_dynamic=0.96, pcie=0.9)
        decision = asked(
            load, state=state, parameters=parameters, now_s=float(second), running=ordered, ordered=ordered
        )
        state, ordered = decision.state, decision.replicas
        stopped.add(decision.stopped_by)
    return ordered, stopped


def test_memory_that_was_taken_for_dynamic_and_is_not_orders_one_step_and_no_more() -> None:
    ordered, stopped = ordered_after_two_hours(PLAIN)
    assert ordered == 2
    assert Guard.BENEFIT in stopped


def test_without_the_guard_of_benefit_the_same_memory_would_run_away() -> None:
    """The control of the test above."""
    ordered, _ = ordered_after_two_hours(replace(PLAIN, min_benefit=0.0))
    assert ordered == 100


@given(RATIOS, RATIOS)
def test_memory_of_the_load_is_its_share_of_what_weights_leave(static: float, taken: float) -> None:
    dynamic = (1 - static) * taken
    load = LoadSignals(qps=0.0, vram_used=static + dynamic, vram_dynamic=dynamic)
    assert 0 <= vram_of_load(load) <= 1 + 1e-6
    assert static > 0.95 or vram_of_load(load) == pytest.approx(taken, abs=1e-6)


def test_memory_that_really_comes_with_load_sends_out() -> None:
    full = LoadSignals(qps=10.0, vram_used=0.97, vram_dynamic=0.4, pcie=0.85)  # 0.4 of the 0.43 that are free: 0.93
    assert asked(full).verdict is Verdict.HOLD
    fuller = LoadSignals(qps=10.0, vram_used=0.99, vram_dynamic=0.42, pcie=0.85)
    assert asked(fuller).verdict is Verdict.OUT


# The other guards


def test_a_load_that_jumps_is_answered_at_the_first_decision_that_sees_it() -> None:
    """Scale-out within two control periods: one would do, the other is the meter's."""
    assert asked(made_of(qps_ratio=1.0)).verdict is Verdict.HOLD
    assert asked(made_of(qps_ratio=4.0)).verdict is Verdict.OUT


def test_in_is_confirmed_twice_in_a_row() -> None:
    calm, busy = made_of(qps_ratio=0.1), made_of(qps_ratio=1.0)
    first = asked(calm)
    assert (first.verdict, first.stopped_by, first.state.calm) == (Verdict.HOLD, Guard.CONFIRMATION, 1)
    between = asked(busy, state=first.state, now_s=1.0)
    assert between.state.calm == 0
    again = asked(calm, state=between.state, now_s=2.0)
    assert again.stopped_by is Guard.CONFIRMATION
    second = asked(calm, state=again.state, now_s=3.0)
    assert (second.verdict, second.replicas) == (Verdict.IN, 1)


@pytest.mark.parametrize(("now_s", "verdict"), [(9.99, Verdict.HOLD), (10.0, Verdict.OUT)])
def test_after_any_change_nothing_goes_out_until_the_cooldown_ends(now_s: float, verdict: Verdict) -> None:
    changed = ScalingState(changed_s=0.0)
    decision = asked(made_of(qps_ratio=4.0), state=changed, now_s=now_s)
    assert decision.verdict is verdict
    assert (decision.stopped_by is Guard.COOLDOWN) == (verdict is Verdict.HOLD)


@pytest.mark.parametrize(("now_s", "verdict"), [(299.9, Verdict.HOLD), (300.0, Verdict.IN)])
def test_nothing_goes_in_until_the_longer_cooldown_after_the_last_out_ends(now_s: float, verdict: Verdict) -> None:
    went_out = ScalingState(changed_s=0.0, out_s=0.0, calm=5, from_replicas=2, out_pressure=1.5, out_qps=100.0)
    assert asked(made_of(qps_ratio=0.1), state=went_out, now_s=now_s).verdict is verdict


def test_what_is_starting_is_not_ordered_twice() -> None:
    """One replica runs of four that are ordered: its load of 3.5 targets is 0.875 of each, once all run."""
    load = made_of(qps_ratio=3.5)
    assert asked(load, running=1, ordered=1).replicas == 2
    assert asked(load, running=1, ordered=4).verdict is Verdict.HOLD


def test_a_load_that_grows_while_replicas_start_is_answered_before_they_run() -> None:
    began = asked(made_of(qps_ratio=6.0), running=1, ordered=1)
    more = asked(made_of(qps_ratio=20.0), state=began.state, now_s=60.0, running=1, ordered=began.replicas)
    assert more.verdict is Verdict.OUT


@pytest.mark.parametrize(
    ("qps_ratio", "memory", "benefit"),
    [
        (12.0 / 5 * 1.25, 0.0, 0.8),  # a quarter more frames since then: without them it were 0.96 of 4.8
        (12.0 / 5, 0.9, 0.735),  # memory that came besides
    ],
)
def test_more_goes_out_where_the_last_that_did_has_helped(qps_ratio: float, memory: float, benefit: float) -> None:
    out = asked(made_of(qps_ratio=12.0), running=1, ordered=1)
    assert out.replicas == 5, "one step"
    load = made_of(qps_ratio=qps_ratio, vram=memory)
    later = asked(load, state=out.state, now_s=60.0, running=5, ordered=5)
    assert later.benefit == pytest.approx(benefit, abs=0.01)
    assert later.verdict is Verdict.OUT


def test_bounds_hold_even_while_signals_are_missing() -> None:
    few = asked(None, parameters=replace(PLAIN, min_replicas=3), running=0, ordered=1)
    assert (few.verdict, few.replicas, few.cause) == (Verdict.OUT, 3, Cause.BOUNDS)
    many = asked(None, parameters=replace(PLAIN, max_replicas=3), ordered=9)
    assert (many.verdict, many.replicas) == (Verdict.IN, 3)
    assert asked(made_of(qps_ratio=9.0), ordered=4, parameters=replace(PLAIN, max_replicas=4)).stopped_by is Guard.LIMIT
    calm = ScalingState(calm=1)
    least = replace(PLAIN, min_replicas=4)
    assert asked(made_of(qps_ratio=0.1), state=calm, parameters=least).stopped_by is Guard.LIMIT


@pytest.mark.parametrize(
    "load",
    [
        None,
        LoadSignals(qps=nan),
        LoadSignals(qps=inf),
        LoadSignals(qps=-1.0),
        LoadSignals(qps=1.0, vram_used=nan),
        LoadSignals(qps=1.0, vram_dynamic=-0.1),
        LoadSignals(qps=1.0, pcie=inf),
        LoadSignals(qps=1e300),
    ],
)
def test_signals_that_are_no_measurement_change_nothing(load: LoadSignals | None) -> None:
    decision = asked(load, state=ScalingState(calm=1))
    assert (decision.verdict, decision.cause, decision.state.calm) == (Verdict.HOLD, Cause.NO_SIGNALS, 0)


@given(
    st.builds(LoadSignals, qps=st.floats(), vram_used=st.floats(), vram_dynamic=st.floats(), pcie=st.floats()),
    states(),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
def test_no_numbers_whatever_make_it_raise(load: LoadSignals, state: ScalingState, running: int, ordered: int) -> None:
    decision = asked(load, state=state, running=running, ordered=ordered)
    assert 1 <= decision.replicas <= 100


# The numbers


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"target_qps": 0.0}, "target_qps"),
        ({"weight_qps": -0.1}, "weight"),
        ({"weight_qps": 0.0, "weight_vram": 0.0, "weight_pcie": 0.0}, "weight"),
        ({"in_score": 1.2}, "in this order"),
        ({"aim_score": 1.16}, "in this order"),
        ({"out_vram": 0.0}, "out_vram"),
        ({"safe_vram": 0.93}, "safe"),
        ({"max_step": 0}, "step"),
        ({"in_confirmations": 0}, "in_confirmations"),
        ({"in_confirmations": 1.5}, "whole"),
        ({"cooldown_s": -1.0}, "cool-down"),
        ({"min_benefit": 1.1}, "min_benefit"),
        ({"target_qps": nan}, "number"),
        ({"target_qps": True}, "number"),
        ({"max_step": inf}, "number"),
        ({"targetqps": 5.0}, "there is no targetqps"),
        ({"min_replicas": 2}, "there is no min_replicas"),
    ],
)
def test_a_number_that_contradicts_is_refused_in_words(knobs: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        turned(PLAIN, knobs)


def test_bounds_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="min_replicas"):
        AutoscalingParameters(min_replicas=3, max_replicas=2)


def test_every_knob_can_be_turned_to_what_it_is() -> None:
    same = {name: float(getattr(PLAIN, name)) for name in KNOBS}
    assert turned(PLAIN, same) == PLAIN
    assert isinstance(turned(PLAIN, same).max_step, int)
