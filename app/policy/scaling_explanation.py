"""A scaling decision in words: its signals, weights, terms and guards, and what would have changed it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Cause, Decision, Guard, ScalingState, Verdict
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.load_score import Load, is_usable, vram_of_load


class Level(StrEnum):
    """Where a signal stands beside its marks."""

    SAFE = "safe"
    RAISED = "raised"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One signal of the score: `measured` of a replica that runs, `ratio` once all that are ordered do.

    `term` is `weight` times `ratio`; the terms of a decision add up to its score. `level` is that of what was measured.
    """

    signal: str
    measured: float
    ratio: float
    weight: float
    term: float
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardCheck:
    """One guard, whether it stopped this decision, and how it stands."""

    guard: Guard
    has_stopped: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`replicas` are ordered now instead of `ordered`, of which `running` run; `wanted` without guards and steps.

    `signals` are what the replicas told, `memory_of_weights` the share of the device that no number of replicas frees.
    `would_change` says what would make another decision of it, one sentence each.
    """

    verdict: Verdict
    cause: Cause
    words: str
    running: int
    ordered: int
    wanted: int
    replicas: int
    score: float | None
    score_then: float | None
    signals: LoadSignals | None
    memory_of_weights: float | None
    terms: tuple[Term, ...]
    guards: tuple[GuardCheck, ...]
    would_change: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `decide` was asked."""

    signals: LoadSignals | None
    before: ScalingState
    parameters: AutoscalingParameters
    now_s: float
    running: int
    ordered: int


def explained(decision: Decision, question: Question) -> Explanation:
    """The decision that this question led to, in words."""
    signals = question.signals if question.signals and is_usable(question.signals) else None
    load = decision.load
    has_load = signals is not None and load is not None
    return Explanation(
        verdict=decision.verdict,
        cause=decision.cause,
        words=_words(decision, question),
        running=question.running,
        ordered=question.ordered,
        wanted=decision.wanted,
        replicas=decision.replicas,
        score=load.score if load else None,
        score_then=load.score * question.ordered / decision.replicas if load else None,
        signals=signals,
        memory_of_weights=max(signals.vram_used - signals.vram_dynamic, 0.0) if signals else None,
        terms=_terms(signals, load, question.parameters) if signals and load else (),
        guards=tuple(_guards(decision, question)),
        would_change=tuple(_changes(decision, question)) if has_load else (_CAUSES[decision.cause],),
    )


def document(explanation: Explanation) -> dict[str, Any]:
    """The same as JSON has it: words, numbers, lists and objects."""
    return asdict(explanation)


def _terms(signals: LoadSignals, load: Load, parameters: AutoscalingParameters) -> tuple[Term, ...]:
    p = parameters
    qps_ratio = signals.qps / p.target_qps
    rows = (
        ("qps", signals.qps, load.qps_ratio, p.weight_qps, _level(qps_ratio, p.safe_qps_ratio, p.warn_qps_ratio)),
        ("vram", vram_of_load(signals), load.vram, p.weight_vram, _level(signals.vram_used, p.safe_vram, p.warn_vram)),
        ("pcie", signals.pcie, load.pcie, p.weight_pcie, _level(signals.pcie, p.safe_pcie, p.warn_pcie)),
    )
    return tuple(
        Term(signal=signal, measured=measured, ratio=ratio, weight=weight, term=weight * ratio, level=level)
        for signal, measured, ratio, weight, level in rows
    )


def _level(value: float, safe: float, warn: float) -> Level:
    if value >= warn:
        return Level.WARNING
    return Level.RAISED if value > safe else Level.SAFE


_CAUSES: Final = {
    Cause.NO_SIGNALS: "the replicas have to tell their load",
    Cause.BOUNDS: "other bounds of the number of replicas",
    Cause.SCORE: "the score is above its threshold",
    Cause.MEMORY_AND_LINK: "memory and link are both nearly full",
    Cause.CALM: "the score is low and requests are few",
    Cause.BETWEEN: "the load lies between the thresholds",
}


def _words(decision: Decision, question: Question) -> str:
    if decision.cause is Cause.NO_SIGNALS:
        return "no usable signals: nothing is changed"
    if decision.cause is Cause.BOUNDS:
        return f"{question.ordered} replicas are outside of the bounds: {decision.replicas} are ordered"
    cause = _CAUSES[decision.cause]
    match decision.verdict:
        case Verdict.OUT:
            return f"{cause}: out from {question.ordered} to {decision.replicas} replicas"
        case Verdict.IN:
            return f"{cause}: in from {question.ordered} to {decision.replicas} replicas"
        case _:
            stopped = f", but {decision.stopped_by} stops a change" if decision.stopped_by else ""
            return f"{cause}{stopped}: {question.ordered} replicas stay"


def _guards(decision: Decision, question: Question) -> Iterator[GuardCheck]:
    p, before, now_s = question.parameters, question.before, question.now_s
    any_s = max(before.changed_s + p.cooldown_s - now_s, 0.0)
    in_s = max(before.out_s + p.in_cooldown_s - now_s, any_s)
    calm = decision.state.calm if decision.verdict is not Verdict.IN else p.in_confirmations
    lines = [
        (Guard.COOLDOWN, f"nothing goes out for another {any_s:.1f} s, nothing goes in for another {in_s:.1f} s"),
        (Guard.CONFIRMATION, f"calm seen {min(calm, p.in_confirmations)} of {p.in_confirmations} times"),
        (Guard.LIMIT, f"between {p.min_replicas} and {p.max_replicas} replicas"),
    ]
    if decision.benefit is not None:
        least = p.min_benefit * (1 - before.from_replicas / question.ordered)
        took = round(decision.benefit, 2) + 0.0  # no -0 %
        lines.append(
            (
                Guard.BENEFIT,
                f"the last replicas took {took:.0%} off the pressure, {least:.0%} are asked for",
            )
        )
    if decision.cause is Cause.CALM:
        lines.append((Guard.ROOM, f"{decision.wanted} replicas would keep the score at {p.aim_score:g} or below"))
    for guard, words in lines:
        yield GuardCheck(guard=guard, has_stopped=decision.stopped_by is guard, words=words)


def _changes(decision: Decision, question: Question) -> Iterator[str]:
    p, load, signals = question.parameters, decision.load, question.signals
    if load is None or signals is None:
        return
    if decision.stopped_by is not None:
        yield _UNSTOPPED[decision.stopped_by]
    share = question.running / question.ordered
    others = load.score - p.weight_qps * load.qps_ratio
    if decision.cause not in {Cause.SCORE, Cause.MEMORY_AND_LINK}:
        if p.weight_qps:
            least = max((p.out_score - others) / p.weight_qps, 0.0) * p.target_qps / share
            yield f"out: more than {least:.1f} frames/s a replica instead of {signals.qps:.1f}"
        yield f"out: memory of load above {p.out_vram:g} and link above {p.out_pcie:g} together"
    elif decision.cause is Cause.SCORE:
        yield f"no more out: a score of {p.out_score:g} or less instead of {load.score:.3f}"
    else:
        yield f"no more out: memory of load at {p.out_vram:g} or below, or link at {p.out_pcie:g} or below"
    if decision.cause is not Cause.CALM:
        few = f"requests below {p.in_qps_ratio:g} of the target"
        yield f"in: a score below {p.in_score:g} and {few}, seen {p.in_confirmations} times"


_UNSTOPPED: Final = {
    Guard.COOLDOWN: "the cool-down has to end",
    Guard.BENEFIT: "the last replicas have to relieve the others, or frames have to become more",
    Guard.CONFIRMATION: "the load has to be as low at the next decision",
    Guard.ROOM: "the load has to fall until fewer replicas hold it",
    Guard.LIMIT: "other bounds of the number of replicas",
}
