"""GPU requests against what nodes offer, the nodes read from `kubectl get nodes -o yaml`."""

from collections.abc import Iterator, Sequence

from kuberay.manifest import Manifest, entries, section
from kuberay.pods import Pod, pods_of
from kuberay.selection import is_placeable, is_tolerated
from kuberay.worker_groups import gpu_requests

Finding = tuple[str, str]
_DIGITS = 10


def offer_findings(manifest: Manifest, nodes: Sequence[Manifest]) -> Iterator[Finding]:
    """Yield each GPU request of a pod that no node can ever meet, with what keeps it from the nodes."""
    for pod in pods_of(manifest):
        for resource, amount in gpu_requests(pod).items():
            if amount.isdecimal() and len(amount) < _DIGITS and int(amount) > 0:
                yield from _unmet(pod, resource, int(amount), nodes)


def _unmet(pod: Pod, resource: str, amount: int, nodes: Sequence[Manifest]) -> Iterator[Finding]:
    field = f"{pod.container_field}.resources.limits[{resource}]"
    most = max((_offered(node, resource) for node in nodes), default=0)
    offering = [node for node in nodes if _offered(node, resource) >= amount]
    if not offering:
        yield field, f"asks for {amount}; the most that one of the {len(nodes)} nodes offers is {most}"
        return
    fitting = [node for node in offering if is_placeable(pod.spec, section(node, "metadata", "labels"))]
    if not fitting:
        chosen = "nodeSelector" if section(pod.spec, "nodeSelector") else "affinity"
        yield f"{pod.field}.spec.{chosen}", f"selects none of the {len(offering)} nodes that offer {resource}"
        return
    tolerations = entries(pod.spec.get("tolerations"))
    if not any(is_tolerated(entries(section(node, "spec").get("taints")), tolerations) for node in fitting):
        yield f"{pod.field}.spec.tolerations", f"tolerates the taints of no node that offers {resource}"


def _offered(node: Manifest, resource: str) -> int:
    try:
        return int(str(section(node, "status", "allocatable").get(resource, 0)))
    except ValueError:  # no number, or one of more digits than any
        return 0
