"""What is told of a decision is what was decided: terms that add up, the guard that stopped, what would change it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Cause, Guard, ScalingState, Verdict, decide
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.scaling_explanation import Explanation, Level, Question, document, explained

PLAIN = AutoscalingParameters(target_qps=100.0, max_replicas=100)
STATE = ScalingState()
WENT_OUT = ScalingState(changed_s=-400.0, out_s=-400.0, from_replicas=1, out_pressure=1.5, out_qps=10.0)


def explanation(
    signals: LoadSignals | None,
    *,
    before: ScalingState = STATE,
    parameters: AutoscalingParameters = PLAIN,
    running: int = 4,
    ordered: int = 4,
) -> Explanation:
    decision = decide(signals, before, parameters, now_s=0.0, running=running, ordered=ordered)
    question = Question(
        signals=signals, before=before, parameters=parameters, now_s=0.0, running=running, ordered=ordered
    )
    return explained(decision, question)


def loads(*, most_qps: float = 600.0) -> st.SearchStrategy[LoadSignals]:
    ratio = st.floats(0, 1)
    return st.builds(LoadSignals, qps=st.floats(0, most_qps), vram_used=ratio, vram_dynamic=ratio, pcie=ratio)


@given(
    loads(),
    st.sampled_from([STATE, WENT_OUT, ScalingState(changed_s=-1.0, calm=1)]),
    st.integers(1, 5),
    st.integers(1, 100),
)
def test_the_terms_are_weight_times_ratio_and_add_up_to_the_score(
    load: LoadSignals, before: ScalingState, running: int, ordered: int
) -> None:
    told = explanation(load, before=before, running=running, ordered=ordered)
    assert told.score is not None
    assert [term.signal for term in told.terms] == ["qps", "vram", "pcie"]
    assert sum(term.term for term in told.terms) == pytest.approx(told.score)
    assert all(term.term == pytest.approx(term.weight * term.ratio) for term in told.terms)
    assert [guard.guard for guard in told.guards if guard.has_stopped] == _stopped(load, before, running, ordered)


def _stopped(load: LoadSignals, before: ScalingState, running: int, ordered: int) -> list[Guard]:
    guard = decide(load, before, PLAIN, now_s=0.0, running=running, ordered=ordered).stopped_by
    return [guard] if guard is not None else []


def test_a_term_that_was_left_out_is_seen() -> None:
    """The control of the test above."""
    told = explanation(LoadSignals(qps=100.0, vram_used=0.5, vram_dynamic=0.5, pcie=0.5))
    assert sum(term.term for term in told.terms[:2]) != pytest.approx(told.score)


@given(loads(), st.integers(1, 4), st.integers(1, 8))
def test_the_frames_that_are_said_to_send_out_do_and_a_few_less_do_not(
    load: LoadSignals, running: int, ordered: int
) -> None:
    told = explanation(load, running=running, ordered=ordered)
    named = [re.match(r"out: more than ([0-9.]+) frames/s", words) for words in told.would_change]
    for least in [float(found[1]) for found in named if found]:
        more = LoadSignals(qps=least + 0.2, vram_used=load.vram_used, vram_dynamic=load.vram_dynamic, pcie=load.pcie)
        less = LoadSignals(
            qps=max(least - 0.2, 0.0), vram_used=load.vram_used, vram_dynamic=load.vram_dynamic, pcie=load.pcie
        )
        assert explanation(more, running=running, ordered=ordered).cause is Cause.SCORE
        assert explanation(less, running=running, ordered=ordered).cause is not Cause.SCORE


@pytest.mark.parametrize(
    ("load", "before", "running", "verdict", "words"),
    [
        (LoadSignals(qps=400.0), STATE, 4, Verdict.OUT, "out from 4 to 7"),
        (LoadSignals(qps=10.0), ScalingState(calm=1), 4, Verdict.IN, "in from 4 to 1"),
        (LoadSignals(qps=10.0), STATE, 4, Verdict.HOLD, "but confirmation stops a change"),
        (LoadSignals(qps=400.0), ScalingState(changed_s=-1.0), 4, Verdict.HOLD, "but cooldown stops a change"),
        (LoadSignals(qps=100.0), STATE, 4, Verdict.HOLD, "between the thresholds"),
        (None, STATE, 0, Verdict.HOLD, "no usable signals"),
    ],
)
def test_each_verdict_is_told_in_words(
    load: LoadSignals | None, before: ScalingState, running: int, verdict: Verdict, words: str
) -> None:
    told = explanation(load, before=before, running=running)
    assert told.verdict is verdict
    assert words in told.words
    assert told.would_change


def test_the_guard_of_benefit_says_what_the_last_replicas_did() -> None:
    load = LoadSignals(qps=2.0, vram_used=0.97, vram_dynamic=0.97, pcie=0.9)
    before = ScalingState(changed_s=-400.0, out_s=-400.0, from_replicas=2, out_pressure=1.02, out_qps=8.0)
    told = explanation(load, before=before)
    [stopped] = [guard for guard in told.guards if guard.has_stopped]
    assert stopped.guard is Guard.BENEFIT
    assert stopped.words == "the last replicas took 0% off the pressure, 10% are asked for"
    assert told.would_change[0] == "the last replicas have to relieve the others, or frames have to become more"


def test_memory_of_weights_is_told_and_no_part_of_the_term() -> None:
    told = explanation(LoadSignals(qps=50.0, vram_used=0.96, vram_dynamic=0.0, pcie=0.1))
    assert told.memory_of_weights == pytest.approx(0.96)
    vram = told.terms[1]
    assert (vram.term, vram.level) == (0.0, Level.WARNING)


@pytest.mark.parametrize(
    ("load", "levels"),
    [
        (LoadSignals(qps=90.0, vram_used=0.85, vram_dynamic=0.1, pcie=0.70), ["safe", "safe", "safe"]),
        (LoadSignals(qps=90.1, vram_used=0.851, vram_dynamic=0.1, pcie=0.701), ["raised", "raised", "raised"]),
        (LoadSignals(qps=95.0, vram_used=0.92, vram_dynamic=0.1, pcie=0.80), ["warning", "warning", "warning"]),
    ],
)
def test_signals_are_safe_up_to_their_mark_and_a_warning_from_the_next_on(load: LoadSignals, levels: list[str]) -> None:
    assert [term.level for term in explanation(load).terms] == levels


@given(st.one_of(st.none(), loads()), st.sampled_from([STATE, WENT_OUT]), st.integers(0, 200))
def test_the_document_is_plain_json(load: LoadSignals | None, before: ScalingState, ordered: int) -> None:
    told = document(explanation(load, before=before, ordered=ordered))
    assert json.loads(json.dumps(told, allow_nan=False))["ordered"] == ordered
