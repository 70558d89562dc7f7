"""The processes of a running service, for the scenario `streams`: which do what, and what they hold and use."""

from collections import defaultdict
from collections.abc import Callable

from load_tests.service import Service

KEEPERS = ("Ingress", "Tracker", "BookActor")
"""What holds something for each stream."""


def replicas(service: Service, stage: str) -> list[int]:
    """The processes of one stage."""
    title = f"ray::ServeReplica:sightline:{stage}"
    return [pid for pid, found in service.processes().items() if found.startswith(title)]


def by_part(service: Service, measure: Callable[[int], float]) -> dict[str, float]:
    """What `measure` says of every process, summed by part of the service; what is not ours is `ray`."""
    sums: defaultdict[str, float] = defaultdict(float)
    for pid, title in service.processes().items():
        part = title.removeprefix("ray::").removeprefix("ServeReplica:sightline:").split(".")[0].split(" ")[0]
        is_ours = title.startswith("ray::ServeReplica:sightline:") or part in KEEPERS
        sums[part if is_ours else "ray"] += measure(pid)
    return dict(sums)
