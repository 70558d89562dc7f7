from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.canary import CanaryParameters, Decision, Traffic, Verdict, Watch, Window, judged

PARAMETERS = CanaryParameters(min_frames=100, min_compared=50)
GOOD = Traffic(answered=100)
SLOW = Traffic(answered=100, slow=2)


def run(*windows: Window, parameters: CanaryParameters = PARAMETERS) -> list[Decision]:
    watch, decisions = Watch(), []
    for window in windows:
        watch, decision = judged(watch, window, parameters=parameters)
        decisions.append(decision)
    return decisions


def seen(candidate: Traffic = GOOD, *, length_s: float = 10.0, **rest: Any) -> Window:
    return Window(length_s=length_s, candidate=candidate, primary=rest.pop("primary", GOOD), **rest)


def verdicts(*windows: Window, parameters: CanaryParameters = PARAMETERS) -> list[Verdict]:
    return [decision.verdict for decision in run(*windows, parameters=parameters)]


@pytest.mark.parametrize(
    ("errors", "primary_errors", "verdict"),
    [
        (2, 0, Verdict.HOLD),
        (3, 0, Verdict.ROLL_BACK),
        (7, 5, Verdict.HOLD),
        (8, 5, Verdict.ROLL_BACK),
        (100, 100, Verdict.HOLD),
        (0, 100, Verdict.HOLD),
    ],
)
def test_an_error_rate_over_the_primarys_by_more_than_the_margin_is_rolled_back(
    errors: int, primary_errors: int, verdict: Verdict
) -> None:
    window = seen(
        Traffic(answered=100 - errors, errors=errors),
        primary=Traffic(answered=100 - primary_errors, errors=primary_errors),
    )
    assert verdicts(window) == [verdict]


def test_too_few_frames_decide_nothing_and_add_up_until_they_do() -> None:
    bad = seen(Traffic(answered=0, errors=40))
    first, second, third = run(bad, bad, bad)
    assert (first.verdict, first.reason) == (Verdict.HOLD, "40 of the 100 frames that a decision needs")
    assert second.verdict is Verdict.HOLD
    assert third.verdict is Verdict.ROLL_BACK
    assert third.reason == "100.0% of its 120 frames ended in an error of ours, 0.0% of the primary's 300"


def test_what_was_judged_is_not_judged_again() -> None:
    almost = seen(Traffic(answered=98, errors=2))
    assert verdicts(*[almost] * 50) == [Verdict.HOLD] * 50


def test_latency_over_the_limit_for_three_minutes_on_end_is_rolled_back() -> None:
    decisions = run(*[seen(SLOW)] * 18)
    assert [decision.verdict for decision in decisions[:17]] == [Verdict.HOLD] * 17
    assert "slow for 170 s; 180 s are allowed" in decisions[16].reason
    assert decisions[17].verdict is Verdict.ROLL_BACK
    assert decisions[17].reason == "2 of its 100 answers took longer than 0.18 s, more than 1.0% for 180 s on end"


def test_one_good_window_ends_a_slow_spell() -> None:
    spell = [seen(SLOW)] * 17
    assert Verdict.ROLL_BACK not in verdicts(*spell, seen(), *spell)


def test_the_quantile_decides_how_many_may_be_slow() -> None:
    one_percent = seen(Traffic(answered=100, slow=1), length_s=1000.0)
    assert verdicts(one_percent) == [Verdict.HOLD]
    half = replace(PARAMETERS, quantile=0.5)
    assert verdicts(seen(Traffic(answered=100, slow=50), length_s=1000.0), parameters=half) == [Verdict.HOLD]
    assert verdicts(seen(Traffic(answered=100, slow=51), length_s=1000.0), parameters=half) == [Verdict.ROLL_BACK]


@pytest.mark.parametrize(
    ("agreement", "verdict"), [(1.0, "hold"), (0.97, "hold"), (0.969, "roll back"), (0.0, "roll back")]
)
def test_more_than_three_hundredths_apart_from_the_primary_is_rolled_back(agreement: float, verdict: str) -> None:
    assert verdicts(seen(agreement=agreement, compared=50)) == [verdict]


def test_agreement_is_weighed_by_frames_and_needs_enough_of_them() -> None:
    few = seen(agreement=0.5, compared=2)
    assert verdicts(few) == [Verdict.HOLD]
    assert verdicts(few, seen(agreement=1.0, compared=48)) == [Verdict.HOLD] * 2  # 0.98 over 50
    assert verdicts(few, few, seen(agreement=1.0, compared=46)) == [Verdict.HOLD, Verdict.HOLD, Verdict.ROLL_BACK]
    assert verdicts(seen(agreement=None, compared=5000)) == [Verdict.HOLD]


def test_long_agreement_does_not_hide_that_it_ended() -> None:
    assert verdicts(*[seen(agreement=1.0, compared=50)] * 40, seen(agreement=0.5, compared=50))[-1] is Verdict.ROLL_BACK


def test_a_shadow_is_judged_by_agreement_alone() -> None:
    shadow = Window(length_s=10.0, primary=GOOD, agreement=0.5, compared=50)
    decision = run(shadow)[0]
    assert decision.verdict is Verdict.ROLL_BACK
    assert "0.500 apart from the primary's answers over 50 frames; 0.03 is allowed" in decision.reason


def test_a_candidate_without_a_fault_is_promoted_after_its_time_and_only_if_asked() -> None:
    asked = replace(PARAMETERS, promote_after_s=30.0)
    assert verdicts(*[seen()] * 4, parameters=asked) == ["hold", "hold", "promote", "promote"]
    assert verdicts(seen(), seen(), seen(SLOW), seen(), seen(), parameters=asked) == ["hold"] * 5
    assert set(verdicts(*[seen()] * 100)) == {Verdict.HOLD}


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=30))
def test_a_candidate_that_does_as_the_primary_does_is_never_rolled_back_for_errors(
    frames: list[tuple[int, int]],
) -> None:
    windows = [
        seen(Traffic(answered=answered, errors=errors), primary=Traffic(answered=answered, errors=errors))
        for answered, errors in frames
    ]
    assert Verdict.ROLL_BACK not in verdicts(*windows)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_frames": 0},
        {"min_compared": 0},
        {"max_error_excess": -0.1},
        {"max_disagreement": 1.1},
        {"quantile": 2.0},
        {"max_latency_s": 0.0},
        {"slow_for_s": float("nan")},
        {"promote_after_s": 0.0},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="canary is judged"):
        CanaryParameters(**wrong)


@pytest.mark.parametrize("wrong", [{"answered": 1, "slow": 2}, {"slow": -1}, {"errors": -1}])
def test_counts_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="slow"):
        Traffic(**wrong)
