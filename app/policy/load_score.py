"""One number for how loaded a replica is, of requests, memory and link."""

from dataclasses import dataclass
from typing import Final

from app.core.load_signals import LoadSignals
from app.policy.autoscaling_parameters import AutoscalingParameters

LEAST_ROOM: Final = 0.05
"""Where weights leave less of the device than this, the rest is counted as this: what jitters there is no load."""
MOST: Final = 1e12
"""A signal above this is no measurement, and a score made of it may be no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The score and what it is made of: the load of one replica, once all that are ordered run."""

    qps_ratio: float
    vram: float
    pcie: float
    score: float


def is_usable(signals: LoadSignals) -> bool:
    """Whether all four are numbers that something can have measured."""
    return (
        0 <= signals.qps <= MOST
        and 0 <= signals.vram_used <= MOST
        and 0 <= signals.vram_dynamic <= MOST
        and 0 <= signals.pcie <= MOST
    )


def vram_of_load(signals: LoadSignals) -> float:
    """The share of the memory which weights leave free that the load has taken.

    Weights stay where they are however many replicas there are: to count them would be to order replicas without end.
    """
    room = 1.0 - max(signals.vram_used - signals.vram_dynamic, 0.0)
    return signals.vram_dynamic / max(room, LEAST_ROOM)


def load_of(signals: LoadSignals, parameters: AutoscalingParameters, *, share: float = 1.0) -> Load:
    """The load when each replica has `share` of what it has now."""
    qps_ratio = signals.qps / parameters.target_qps * share
    vram = vram_of_load(signals) * share
    pcie = signals.pcie * share
    score = parameters.weight_qps * qps_ratio + parameters.weight_vram * vram + parameters.weight_pcie * pcie
    return Load(qps_ratio=qps_ratio, vram=vram, pcie=pcie, score=score)


def pressure(load: Load, parameters: AutoscalingParameters) -> float:
    """How near the load is to what sends replicas out: more than 1 is beyond, by the score or by memory and link."""
    fullness = min(load.vram / parameters.out_vram, load.pcie / parameters.out_pcie)
    return max(load.score / parameters.out_score, fullness)
