"""`app.policy.autoscaling.decide` for many fleets at once: what a simulation of years needs, and nothing else.

The same rule in arrays, in the same order of operations: a test holds the two equal, bit for bit. With 10,000 fleets
it makes 5 million decisions a second, where single ones are 0.2 million (two-core machine, 2026-11-23).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.policy.autoscaling import ROUNDING
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.load_score import LEAST_ROOM, MOST

Reals = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSignals:
    """The mean load of each fleet's replicas, `(n,)` each; NaN where none tells it."""

    qps: Reals
    vram_used: Reals
    vram_dynamic: Reals
    pcie: Reals


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStates:
    """A ScalingState of each fleet, `(n,)` each."""

    changed_s: Reals
    out_s: Reals
    calm: Counts
    from_replicas: Counts
    out_pressure: Reals
    out_qps: Reals

    @classmethod
    def of(cls, fleets: int) -> "FleetStates":
        """Those of fleets that nothing was decided about yet."""
        never, nothing, none = np.full(fleets, -np.inf), np.zeros(fleets), np.zeros(fleets, np.int64)
        return cls(changed_s=never, out_s=never, calm=none, from_replicas=none, out_pressure=nothing, out_qps=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loads:
    """The Load of each fleet, and how near it is to what sends replicas out."""

    qps_ratio: Reals
    score: Reals
    fullness: Reals
    pressure: Reals
    is_full: Flags
    is_usable: Flags


def decide_fleets(
    signals: FleetSignals,
    states: FleetStates,
    parameters: AutoscalingParameters,
    *,
    now_s: float,
    running: Counts,
    ordered: Counts,
) -> tuple[Counts, FleetStates]:
    """The replicas to be ordered for each fleet, `(n,)`, and the states to come back with."""
    p = parameters
    bounded = np.clip(ordered, p.min_replicas, p.max_replicas)
    is_beyond = bounded != ordered
    with np.errstate(all="ignore"):  # fleets without signals are not looked at
        loads = _loads(signals, p, running=running, ordered=bounded)
        qps = signals.qps * running
        is_high = loads.is_usable & ((loads.score > p.out_score) | loads.is_full)
        is_low = loads.is_usable & ~is_high & (loads.score < p.in_score) & (loads.qps_ratio < p.in_qps_ratio)
        most = np.maximum(p.max_step, np.ceil(bounded * p.max_step_ratio))
        is_cool = ~(now_s - states.changed_s < p.cooldown_s)

        wanted = np.maximum(bounded + 1, np.ceil(bounded * loads.score / p.aim_score - ROUNDING))
        more = np.minimum(np.minimum(wanted, bounded + most), p.max_replicas)
        is_helped = ~(_is_useless(loads, states, p, qps=qps, ordered=bounded) & (running >= bounded))
        goes_out = ~is_beyond & is_high & is_cool & is_helped & (more != bounded)

        least = np.maximum(loads.score / p.aim_score, loads.fullness)
        needed = np.maximum(1, np.ceil(bounded * least - ROUNDING))
        fewer = np.maximum(np.maximum(needed, bounded - most), p.min_replicas)
        calm = np.where(is_low & ~is_beyond, states.calm + 1, 0)
        is_long_out = ~(now_s - states.out_s < p.in_cooldown_s)
        is_free = is_cool & is_long_out & (calm >= p.in_confirmations)
        goes_in = ~is_beyond & is_low & is_free & (needed < bounded) & (fewer != bounded)

        replicas = np.where(goes_out, more, np.where(goes_in, fewer, bounded)).astype(np.int64)
    is_forgotten = goes_in | is_beyond
    after = FleetStates(
        changed_s=np.where(goes_out | is_forgotten, now_s, states.changed_s),
        out_s=np.where(goes_out, now_s, states.out_s),
        calm=np.where(goes_out | is_forgotten, 0, calm),
        from_replicas=np.where(goes_out, bounded, np.where(is_forgotten, 0, states.from_replicas)),
        out_pressure=np.where(goes_out, loads.pressure, np.where(is_forgotten, 0.0, states.out_pressure)),
        out_qps=np.where(goes_out, qps, np.where(is_forgotten, 0.0, states.out_qps)),
    )
    return replicas, after


def _loads(signals: FleetSignals, parameters: AutoscalingParameters, *, running: Counts, ordered: Counts) -> _Loads:
    p = parameters
    share = running / ordered
    qps_ratio = signals.qps / p.target_qps * share
    room = 1.0 - np.maximum(signals.vram_used - signals.vram_dynamic, 0.0)
    vram = signals.vram_dynamic / np.maximum(room, LEAST_ROOM) * share
    pcie = signals.pcie * share
    score = p.weight_qps * qps_ratio + p.weight_vram * vram + p.weight_pcie * pcie
    fullness = np.minimum(vram / p.out_vram, pcie / p.out_pcie)
    told = (signals.qps, signals.vram_used, signals.vram_dynamic, signals.pcie)
    is_usable = running >= 1
    for numbers in told:
        is_usable = is_usable & (numbers >= 0) & (numbers <= MOST)
    return _Loads(
        qps_ratio=qps_ratio,
        score=score,
        fullness=fullness,
        pressure=np.maximum(score / p.out_score, fullness),
        is_full=(vram > p.out_vram) & (pcie > p.out_pcie),
        is_usable=is_usable,
    )


def _is_useless(
    loads: _Loads, states: FleetStates, parameters: AutoscalingParameters, *, qps: Reals, ordered: Counts
) -> Flags:
    """Whether the last replicas took less off than they should have."""
    is_known = (states.from_replicas > 0) & (states.out_pressure > 0)
    growth = np.where(states.out_qps > 0, np.maximum(1.0, qps / states.out_qps), 1.0)
    benefit = 1.0 - loads.pressure / (states.out_pressure * growth)
    useless: Flags = is_known & (benefit < parameters.min_benefit * (1 - states.from_replicas / ordered))
    return useless
