"""Everything that a set of manifests is refused for and the API server would admit."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from kuberay.manifest import Manifest, section, title
from kuberay.offers import offer_findings
from kuberay.pods import Pod, pods_of
from kuberay.problem import Problem
from kuberay.ray_service import service_findings
from kuberay.selection import is_selected
from kuberay.worker_groups import group_findings

_SELECTING = {
    "PodDisruptionBudget": ("selector",),
    "NetworkPolicy": ("podSelector",),
    "PodMonitor": ("selector",),
}
"""Objects that do nothing, and say nothing, when they select no pod."""


def problems(
    manifests: Sequence[Manifest], *, nodes: Sequence[Manifest] | None = None, gates: AbstractSet[str] = frozenset()
) -> list[Problem]:
    """Return every problem, in the order of the manifests; GPU offers are checked only when nodes are given."""
    return list(_problems(manifests, nodes, gates))


def _problems(
    manifests: Sequence[Manifest], nodes: Sequence[Manifest] | None, gates: AbstractSet[str]
) -> Iterator[Problem]:
    pods = [pod for manifest in manifests for pod in pods_of(manifest)]
    for manifest in manifests:
        found: list[tuple[str, str]] = []
        if manifest["kind"] == "RayService":
            found += service_findings(manifest, gates=gates)
            found += group_findings(manifest)
        if manifest["kind"] in _SELECTING:
            found += _selection(manifest, pods)
        if nodes is not None:
            found += offer_findings(manifest, nodes)
        yield from (Problem(owner=title(manifest), field=field, words=words) for field, words in found)


def _selection(manifest: Manifest, pods: Sequence[Pod]) -> Iterator[tuple[str, str]]:
    path = _SELECTING[manifest["kind"]]
    if not any(is_selected(section(manifest, "spec", *path), pod.labels) for pod in pods):
        yield ".".join(("spec", *path)), "matches the labels of no pod of these manifests"
