"""How many replicas a load wants: a score of three signals, two thresholds, and the guards that keep it from running.

Out above `out_score`, or when memory and link are both nearly full; in below `in_score` when requests are few as well,
seen twice. The thresholds, confirmation and cool-down here are the only hysteresis there is: what acts on a decision
adds no delay and no factor of its own. Source: MISSION row 58, settled reading 7.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf
from typing import Final

from app.core.load_signals import LoadSignals
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.load_score import Load, is_usable, load_of, pressure

_ROUNDING: Final = 1e-9
"""So that 0.95 x 2 / 0.95 replicas are 2 and not 3."""


class Verdict(StrEnum):
    """What is done."""

    OUT = "out"
    IN = "in"
    HOLD = "hold"


class Cause(StrEnum):
    """Which rule spoke."""

    NO_SIGNALS = "no_signals"  # no replica has told its load, or what it told is no number
    BOUNDS = "bounds"  # fewer or more replicas are ordered than may be
    SCORE = "score"  # above `out_score`
    MEMORY_AND_LINK = "memory_and_link"  # both nearly full
    CALM = "calm"  # below `in_score`, with few requests
    BETWEEN = "between"  # neither


class Guard(StrEnum):
    """What may stop a change that a rule asks for."""

    COOLDOWN = "cooldown"
    BENEFIT = "benefit"
    CONFIRMATION = "confirmation"
    ROOM = "room"  # with fewer replicas the score would be above the aim
    LIMIT = "limit"  # the bounds of the number of replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingState:
    """What a decision needs to know of those before it.

    `calm` counts the decisions in a row that saw few requests. `from_replicas`, `out_pressure` and `out_qps` are the
    number of replicas, the pressure and the frames per second of all together when the last went out; 0 replicas: none
    did since the last went in.
    """

    changed_s: float = -inf
    out_s: float = -inf
    calm: int = 0
    from_replicas: int = 0
    out_pressure: float = 0.0
    out_qps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`replicas` to be ordered, and why; give `state` back with the next question.

    `wanted` is what the rule would have had without the guards and the largest step; `stopped_by` is the guard that
    kept a change from being made. `benefit` is the share of the pressure that the last replicas took off, where that
    is known. `load` is None where there are no signals, or they were not looked at.
    """

    cause: Cause
    replicas: int
    wanted: int
    state: ScalingState
    load: Load | None = None
    verdict: Verdict = Verdict.HOLD
    stopped_by: Guard | None = None
    benefit: float | None = None


def decide(
    signals: LoadSignals | None,
    state: ScalingState,
    parameters: AutoscalingParameters,
    *,
    now_s: float,
    running: int,
    ordered: int,
) -> Decision:
    """What follows from the mean load of the `running` replicas, None where none tells it, when `ordered` are wanted.

    The load is looked at as if it lay on those that were ordered: what is still starting is not ordered twice.
    """
    within = min(max(ordered, parameters.min_replicas), parameters.max_replicas)
    if within != ordered:
        verdict = Verdict.OUT if within > ordered else Verdict.IN
        changed = ScalingState(changed_s=now_s, out_s=state.out_s)
        return Decision(cause=Cause.BOUNDS, verdict=verdict, replicas=within, wanted=within, state=changed)
    if signals is None or running < 1 or not is_usable(signals):
        return Decision(cause=Cause.NO_SIGNALS, replicas=ordered, wanted=ordered, state=_seen_calm(state, 0))
    load = load_of(signals, parameters, share=running / ordered)
    if load.score > parameters.out_score:
        cause = Cause.SCORE
    elif load.vram > parameters.out_vram and load.pcie > parameters.out_pcie:
        cause = Cause.MEMORY_AND_LINK
    elif load.score < parameters.in_score and load.qps_ratio < parameters.in_qps_ratio:
        return _inwards(load, state, parameters, now_s=now_s, ordered=ordered)
    else:
        return Decision(cause=Cause.BETWEEN, replicas=ordered, wanted=ordered, load=load, state=_seen_calm(state, 0))
    qps = signals.qps * running
    benefit = _benefit(state, now=pressure(load, parameters), qps=qps) if running >= ordered else None
    return _outwards(load, state, parameters, now_s=now_s, ordered=ordered, cause=cause, qps=qps, benefit=benefit)


def _outwards(
    load: Load,
    state: ScalingState,
    parameters: AutoscalingParameters,
    *,
    now_s: float,
    ordered: int,
    cause: Cause,
    qps: float,
    benefit: float | None,
) -> Decision:
    wanted = max(ordered + 1, ceil(ordered * load.score / parameters.aim_score - _ROUNDING))
    replicas = min(wanted, ordered + _most(ordered, parameters), parameters.max_replicas)
    if now_s - state.changed_s < parameters.cooldown_s:
        stopped_by = Guard.COOLDOWN
    elif benefit is not None and benefit < parameters.min_benefit * (1 - state.from_replicas / ordered):
        stopped_by = Guard.BENEFIT
    elif replicas == ordered:
        stopped_by = Guard.LIMIT
    else:
        changed = ScalingState(
            changed_s=now_s, out_s=now_s, from_replicas=ordered, out_pressure=pressure(load, parameters), out_qps=qps
        )
        return Decision(
            cause=cause,
            verdict=Verdict.OUT,
            replicas=replicas,
            wanted=wanted,
            load=load,
            benefit=benefit,
            state=changed,
        )
    return Decision(
        cause=cause,
        stopped_by=stopped_by,
        replicas=ordered,
        wanted=wanted,
        load=load,
        benefit=benefit,
        state=_seen_calm(state, 0),
    )


def _inwards(
    load: Load, state: ScalingState, parameters: AutoscalingParameters, *, now_s: float, ordered: int
) -> Decision:
    # With fewer than this the score would be above the aim, or memory and link both full: what went in would come out.
    least = max(
        load.score / parameters.aim_score, min(load.vram / parameters.out_vram, load.pcie / parameters.out_pcie)
    )
    wanted = max(1, ceil(ordered * least - _ROUNDING))
    replicas = max(wanted, ordered - _most(ordered, parameters), parameters.min_replicas)
    seen = _seen_calm(state, state.calm + 1)
    if wanted >= ordered:
        stopped_by = Guard.ROOM
    elif replicas == ordered:
        stopped_by = Guard.LIMIT
    elif seen.calm < parameters.in_confirmations:
        stopped_by = Guard.CONFIRMATION
    elif now_s - state.changed_s < parameters.cooldown_s or now_s - state.out_s < parameters.in_cooldown_s:
        stopped_by = Guard.COOLDOWN
    else:
        changed = ScalingState(changed_s=now_s, out_s=state.out_s)
        return Decision(
            cause=Cause.CALM, verdict=Verdict.IN, replicas=replicas, wanted=wanted, load=load, state=changed
        )
    return Decision(cause=Cause.CALM, stopped_by=stopped_by, replicas=ordered, wanted=wanted, load=load, state=seen)


def _most(ordered: int, parameters: AutoscalingParameters) -> int:
    return max(parameters.max_step, ceil(ordered * parameters.max_step_ratio))


def _benefit(state: ScalingState, *, now: float, qps: float) -> float | None:
    """The share of the pressure that the last replicas took off, had frames not become more; None: none went out."""
    if not state.from_replicas or state.out_pressure <= 0:
        return None
    growth = max(1.0, qps / state.out_qps) if state.out_qps > 0 else 1.0
    return 1.0 - now / (state.out_pressure * growth)


def _seen_calm(state: ScalingState, calm: int) -> ScalingState:
    if state.calm == calm:
        return state
    return ScalingState(
        changed_s=state.changed_s,
        out_s=state.out_s,
        calm=calm,
        from_replicas=state.from_replicas,
        out_pressure=state.out_pressure,
        out_qps=state.out_qps,
    )
