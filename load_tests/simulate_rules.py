"""The rules that are compared: ours around the real `decide`, and three that others use, each with its own clockwork.

All see what is offered and not only what is answered, and a figure of the last second is there at once for everybody:
what differs is the rule and its window. Replicas that start count as ordered for each of them.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import ScalingState, decide
from app.policy.autoscaling_parameters import AutoscalingParameters
from load_tests.simulate_plant import PlantParameters, Second

AIM = 0.7
"""Of a replica's capacity: what the compared rules aim at."""
REACH, AIM_SCORE, IN_COOLDOWN_S = 0.82, 1.0, 900.0
"""Ours: out above that share of capacity, to a score of that; chosen by hand on these traces at 1 to 10,000 GPUs."""


class History:
    """What was seen so far, as running sums: `mean(series, window_s)` costs the same for every window."""

    def __init__(self) -> None:
        self.offered = [0.0]
        self.answered = [0.0]
        self.ongoing = [0.0]
        self.running = [0.0]

    def add(self, second: Second, *, running: int) -> None:
        """One more second."""
        self.offered.append(self.offered[-1] + second.offered)
        self.answered.append(self.answered[-1] + second.answered)
        self.ongoing.append(self.ongoing[-1] + second.ongoing)
        self.running.append(self.running[-1] + running)


def mean(series: list[float], window_s: int) -> float:
    """Mean of the last `window_s` seconds of a running sum, or of as many as there are; 0 of none."""
    count = min(window_s, len(series) - 1)
    return (series[-1] - series[-1 - count]) / count if count else 0.0


class Rule(Protocol):
    """What is asked every `period_s` how many replicas there should be."""

    period_s: int

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """The number to order."""


def calibrated(
    plant: PlantParameters, *, max_replicas: int, reach: float = REACH, **changes: float
) -> AutoscalingParameters:
    """Row 58's thresholds, and the proportions of its weights, for a plant: out at `reach` of a replica's capacity.

    A replica's memory and link at a load are known. The weights' sum is such that the score is at its threshold for
    going out at `reach`, and thus at that for going in at 0.75 / 1.15 of it; the target such that the frames are at
    theirs at the same load. Left as the row has them, the two thresholds for going in lie at loads far apart.
    """
    defaults = AutoscalingParameters()
    calm = reach * defaults.in_score / defaults.out_score
    vram = calm * plant.vram_load / (1 - plant.vram_static)
    score = (
        defaults.weight_qps * defaults.in_qps_ratio
        + defaults.weight_vram * vram
        + defaults.weight_pcie * calm * plant.pcie_full
    )
    scale = defaults.in_score / score
    return _with(
        max_replicas,
        target_qps=calm * plant.capacity_hz / defaults.in_qps_ratio,
        weight_qps=scale * defaults.weight_qps,
        weight_vram=scale * defaults.weight_vram,
        weight_pcie=scale * defaults.weight_pcie,
        **{"aim_score": AIM_SCORE, "in_cooldown_s": IN_COOLDOWN_S, **changes},
    )


def to_the_letter(plant: PlantParameters, *, max_replicas: int) -> AutoscalingParameters:
    """The defaults, with the `target_qps` at which the score is at its aim at `AIM` of a replica's capacity."""
    defaults = AutoscalingParameters()
    vram = plant.vram_load / (1 - plant.vram_static)
    others = AIM * (defaults.weight_vram * vram + defaults.weight_pcie * plant.pcie_full)
    return _with(max_replicas, target_qps=defaults.weight_qps * AIM * plant.capacity_hz / (defaults.aim_score - others))


def _with(max_replicas: int, **changes: float) -> AutoscalingParameters:
    return replace(AutoscalingParameters(max_replicas=max_replicas), **changes)  # type: ignore[arg-type]


class Ours:
    """The product's policy with its signals over one control period.

    With `sees_offered` false it is told the frames that were answered, which no overload can raise above capacity.
    """

    def __init__(
        self,
        parameters: AutoscalingParameters,
        plant: PlantParameters,
        *,
        period_s: int = 5,
        sees_offered: bool = True,
    ) -> None:
        self.period_s = period_s
        self._parameters = parameters
        self._plant = plant
        self._sees_offered = sees_offered
        self._state = ScalingState()

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """What `decide` says."""
        signals = self.signals(seen, running=running) if running else None
        told = decide(signals, self._state, self._parameters, now_s=now_s, running=running, ordered=ordered)
        self._state = told.state
        return told.replicas

    def signals(self, seen: History, *, running: int) -> LoadSignals:
        """The mean of a replica's signals over the last period."""
        plant, window_s = self._plant, self.period_s
        answered_hz = mean(seen.answered, window_s)
        capacity_hz = max(mean(seen.running, window_s), 1.0) * plant.capacity_hz
        busy = min(answered_hz / capacity_hz, 1.0)
        frames_hz = mean(seen.offered, window_s) if self._sees_offered else answered_hz
        dynamic = plant.vram_load * busy
        return LoadSignals(
            qps=frames_hz / running,
            vram_used=plant.vram_static + dynamic,
            vram_dynamic=dynamic,
            pcie=plant.pcie_full * busy,
        )


@dataclass(slots=True, kw_only=True)
class ServeDefault:
    """Ray Serve 2.60's default: ongoing requests over their target, and a change must be wanted for its whole delay.

    Source: `ray.serve.autoscaling_policy`, its defaults for look-back and delays; `facts/ray-serve.md` 1.1, 1.2.
    """

    target_ongoing: float
    max_replicas: int
    look_back_s: int = 30
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    period_s: int = 1
    _direction: int = 0
    _since_s: float = 0.0

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """Running replicas times ongoing over target, once the direction has held."""
        ongoing = mean(seen.ongoing, self.look_back_s)
        wanted = math.ceil(running * (ongoing / (self.target_ongoing * running))) if running else ordered
        wanted = min(max(wanted, 1), self.max_replicas)
        direction = (wanted > ordered) - (wanted < ordered)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        delay_s = self.upscale_delay_s if direction > 0 else self.downscale_delay_s
        if not direction or now_s - self._since_s < delay_s:
            return ordered
        self._direction = 0
        return wanted


@dataclass(slots=True, kw_only=True)
class HpaLike:
    """Kubernetes' HorizontalPodAutoscaler on frames per second and replica.

    No change within 10 % of the target; out by at most four or as many as there are in 15 s; in to the highest number
    asked for in the last five minutes. Source: its documentation, algorithm details and default behaviour.
    """

    target_hz: float
    max_replicas: int
    window_s: int = 30
    tolerance: float = 0.1
    stabilisation_s: float = 300.0
    period_s: int = 15
    _asked: deque[tuple[float, int]] = field(default_factory=deque)

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """Offered over target, within the limits above."""
        del running  # what starts counts as ordered: nothing is ordered twice
        ratio = mean(seen.offered, self.window_s) / (self.target_hz * ordered)
        wanted = ordered if abs(ratio - 1) <= self.tolerance else math.ceil(ordered * ratio)
        wanted = min(max(wanted, 1), self.max_replicas)
        self._asked.append((now_s, wanted))
        while self._asked[0][0] < now_s - self.stabilisation_s:
            self._asked.popleft()
        if wanted < ordered:
            return min(max(count for _, count in self._asked), ordered)
        return min(wanted, max(2 * ordered, ordered + 4))


@dataclass(slots=True, kw_only=True)
class KedaLike:
    """A threshold of frames per second for each replica, polled; none go in until `cooldown_s` after a need.

    No change within 10 %, as of the HPA through which it acts. Source: MISSION row 67 (a rate over two minutes), KEDA's
    defaults for polling (30 s) and cool-down (300 s).
    """

    threshold_hz: float
    max_replicas: int
    window_s: int = 120
    tolerance: float = 0.1
    cooldown_s: float = 300.0
    period_s: int = 30
    _needed_s: float = 0.0

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """The rate over the threshold."""
        del running
        ratio = mean(seen.offered, self.window_s) / (self.threshold_hz * ordered)
        wanted = ordered if abs(ratio - 1) <= self.tolerance else math.ceil(ordered * ratio)
        wanted = min(max(wanted, 1), self.max_replicas)
        if wanted >= ordered:
            self._needed_s = now_s
            return wanted
        return wanted if now_s - self._needed_s >= self.cooldown_s else ordered


@dataclass(slots=True)
class Never:
    """A policy that never scales: the account must find it."""

    period_s: int = 5

    def replicas(self, seen: History, *, now_s: float, running: int, ordered: int) -> int:
        """What there is."""
        del seen, now_s, running
        return ordered
