"""How many replicas a stage needs so that it keeps up with what the detectors are planned for."""

from dataclasses import dataclass
from math import ceil, isfinite
from typing import Final

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParameters:
    """A replica computes on `cores` cores at most, and should be busy for the share `fill` of them.

    A cost is measured while at least `min_qps` frames per second come. Replicas go only where as many fewer would do
    with `spare` times the need: measured costs move a little all the time. ValueError for what is out of range.
    """

    cores: float = 1.0  # one event loop; what it hands to threads is libraries that release the lock
    fill: float = 0.7
    min_qps: float = 1.0
    spare: float = 1.25

    def __post_init__(self) -> None:
        if not (self.cores > 0 and 0 < self.fill <= 1 and self.min_qps > 0 and self.spare >= 1):
            raise ValueError("cores and min_qps must lie above 0, fill in (0, 1], spare at 1 or above")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """`replicas` of a stage, from `cost_s` seconds of a core a frame; None where that cannot be told now."""

    replicas: int
    cost_s: float | None


def follow(
    *, busy_cores: float | None, qps: float, planned_qps: float, ordered: int, parameters: StageParameters
) -> StagePlan:
    """The plan of a stage whose replicas keep `busy_cores` cores busy together while `qps` frames per second come.

    It is to hold `planned_qps`. Without a measured cost, `ordered` replicas stay.
    """
    if busy_cores is None or not isfinite(busy_cores) or busy_cores < 0 or not qps >= parameters.min_qps:
        return StagePlan(replicas=ordered, cost_s=None)
    cost_s = busy_cores / qps
    needed = cost_s * max(planned_qps, qps) / (parameters.cores * parameters.fill)
    if not isfinite(needed):
        return StagePlan(replicas=ordered, cost_s=None)
    least = max(1, ceil(needed - _ROUNDING))
    roomy = max(1, ceil(needed * parameters.spare - _ROUNDING))
    return StagePlan(replicas=max(least, min(ordered, roomy)), cost_s=cost_s)
