"""What Serve's controller hands to a scaling policy, as plain values with the same names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.pipeline.tally import Tally


@dataclass(frozen=True, slots=True)
class Key:
    """A deployment's id."""

    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """One value of a series."""

    timestamp: float
    value: float


@dataclass(slots=True, kw_only=True)
class Context:
    """The part of Serve's AutoscalingContext that the policy reads; `told` are the stats of each replica."""

    deployment_name: str
    told: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    target_num_replicas: int = 1
    current_num_replicas: int = 1
    capacity_adjusted_min_replicas: int = 1
    capacity_adjusted_max_replicas: int = 8
    total_queued_requests: float = 0.0
    app_name: str = "sightline"
    told_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        return {
            name: {replica: stats[name] for replica, stats in self.told.items() if name in stats}
            for stats in self.told.values()
            for name in stats
        }

    @property
    def raw_metrics(self) -> dict[str, dict[str, list[Look]]]:
        return {
            name: {replica: [Look(self.told_s.get(replica, 0.0), value)] for replica, value in values.items()}
            for name, values in self.aggregated_metrics.items()
        }


class FakeBoard:
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.tally = Tally()

    def post(self, application: str, document: dict[str, Any]) -> None:
        self.posted.append((application, document))

    @property
    def last(self) -> dict[str, Any]:
        return self.posted[-1][1]
