"""The numbers that the autoscaling policy decides by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Final

LEAST_TARGET_QPS: Final = 0.001
MOST_WEIGHT: Final = 1000.0
"""Beyond these a score may be no number any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalingParameters:
    """`target_qps` frames per second that one replica should answer; replicas within [`min_replicas`, `max_replicas`].

    A change aims at `aim_score` and is at most `max_step` replicas or `max_step_ratio` of them, whichever is more.
    After any change nothing changes for `cooldown_s`, and nothing goes in for `in_cooldown_s` after the last that went
    out. What went out must have relieved the others by `min_benefit` of what it should have, or no more goes out for
    the same load. Up to `safe_*` a signal is safe, from `warn_*` on it is a warning; nothing is decided by that.
    ValueError for numbers that contradict each other.
    """

    target_qps: float = 50.0
    weight_qps: float = 0.40
    weight_vram: float = 0.35
    weight_pcie: float = 0.25
    out_score: float = 1.15
    out_vram: float = 0.95
    out_pcie: float = 0.82
    in_score: float = 0.75
    in_qps_ratio: float = 0.65
    in_confirmations: int = 2  # Source of all from `weight_qps` to here: MISSION row 58
    safe_qps_ratio: float = 0.90
    warn_qps_ratio: float = 0.95
    safe_vram: float = 0.85
    warn_vram: float = 0.92
    safe_pcie: float = 0.70
    warn_pcie: float = 0.80  # Source of all from `safe_qps_ratio` to here: MISSION row 59
    aim_score: float = 0.95  # the middle of `in_score` and `out_score`
    min_replicas: int = 1
    max_replicas: int = 8
    max_step: int = 4
    max_step_ratio: float = 1.0
    cooldown_s: float = 10.0
    in_cooldown_s: float = 300.0
    min_benefit: float = 0.2

    def __post_init__(self) -> None:
        weights = (self.weight_qps, self.weight_vram, self.weight_pcie)
        scores = (self.in_score, self.aim_score, self.out_score)
        marks = (
            (self.safe_qps_ratio, self.warn_qps_ratio),
            (self.safe_vram, self.warn_vram),
            (self.safe_pcie, self.warn_pcie),
        )
        ratios = (self.out_vram, self.out_pcie, self.in_qps_ratio)
        spans_s = (self.cooldown_s, self.in_cooldown_s)
        rules = (
            (LEAST_TARGET_QPS <= self.target_qps < inf, f"target_qps must be {LEAST_TARGET_QPS} or more"),
            (all(0 <= weight <= MOST_WEIGHT for weight in weights), f"a weight must lie in [0, {MOST_WEIGHT:g}]"),
            (any(weight > 0 for weight in weights), "one weight at least must lie above 0"),
            (
                0 < scores[0] <= scores[1] <= scores[2] < inf,
                "in_score, aim_score and out_score must lie above 0 and follow in this order",
            ),
            (all(0 < ratio < inf for ratio in ratios), "out_vram, out_pcie and in_qps_ratio must lie above 0"),
            (all(0 <= safe <= warn < inf for safe, warn in marks), "a safe mark must not lie above its warning"),
            (1 <= self.min_replicas <= self.max_replicas, "1 <= min_replicas <= max_replicas does not hold"),
            (self.max_step >= 1 and 0 <= self.max_step_ratio < inf, "a step must be 1 replica or more"),
            (self.in_confirmations >= 1, "in_confirmations must be 1 or more"),
            (all(0 <= span_s < inf for span_s in spans_s), "a cool-down must be 0 s or more"),
            (0 <= self.min_benefit <= 1, "min_benefit must lie in [0, 1]"),
        )
        for is_good, words in rules:
            if not is_good:
                raise ValueError(words)


KNOBS: Final = frozenset(field.name for field in fields(AutoscalingParameters)) - {"min_replicas", "max_replicas"}
"""What may be turned while the service runs; the bounds are Serve's own."""
_COUNTS: Final = frozenset({"in_confirmations", "max_step"})


def turned(parameters: AutoscalingParameters, knobs: Mapping[str, float]) -> AutoscalingParameters:
    """The parameters with these knobs turned. ValueError for one that there is not, or a number that it cannot be."""
    for name, value in knobs.items():
        if name not in KNOBS:
            raise ValueError(f"there is no {name} to be turned; there are {', '.join(sorted(KNOBS))}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"{name} must be a number")
        if name in _COUNTS and value != int(value):
            raise ValueError(f"{name} must be a whole number")
    turns = {name: int(value) if name in _COUNTS else float(value) for name, value in knobs.items()}
    return AutoscalingParameters(**{**asdict(parameters), **turns})
