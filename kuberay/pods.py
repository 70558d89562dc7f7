"""The pods that manifests ask for: where each is written, its labels, its template."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kuberay.manifest import Manifest, entries, section

_WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of some object: `field` is the path of its template, `group` the head's or worker group's own settings."""

    field: str
    labels: Mapping[str, Any]
    spec: Mapping[str, Any]
    group: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any]:
        """The first container, which is Ray's in a pod of a RayService."""
        return next(iter(entries(self.spec.get("containers"))), {})

    @property
    def container_field(self) -> str:
        """The path of the first container."""
        return f"{self.field}.spec.containers[0]"


def pods_of(manifest: Manifest) -> list[Pod]:
    """Every pod that an object asks for, a RayService's head first; empty for what starts none."""
    if manifest["kind"] == "RayService":
        return list(_ray_pods(manifest))
    if manifest["kind"] in _WORKLOADS:
        template = section(manifest, "spec", "template")
        return [_pod(template, "spec.template", {}, {})]
    return []


def worker_groups(manifest: Manifest) -> list[tuple[str, Mapping[str, Any]]]:
    """The worker groups of a RayService, each with the path where it is written."""
    groups = entries(section(manifest, "spec", "rayClusterConfig").get("workerGroupSpecs"))
    return [(f"spec.rayClusterConfig.workerGroupSpecs[{index}]", group) for index, group in enumerate(groups)]


def _ray_pods(manifest: Manifest) -> Iterator[Pod]:
    """Labels are the template's and the operator's own (KubeRay 1.7, controllers/ray/common/pod.go).

    The cluster's name is not among them: the operator makes a new one for each upgrade.
    """
    spec = section(manifest, "spec")
    head = section(spec, "rayClusterConfig", "headGroupSpec")
    serving = "false" if spec.get("excludeHeadPodFromServeSvc") else "true"
    yield _pod(
        section(head, "template"),
        "spec.rayClusterConfig.headGroupSpec.template",
        _operators("head", group="headgroup", serving=serving),
        head,
    )
    for field, group in worker_groups(manifest):
        labels = _operators("worker", group=str(group.get("groupName")), serving="true")
        yield _pod(section(group, "template"), f"{field}.template", labels, group)


def _operators(node_type: str, *, group: str, serving: str) -> dict[str, str]:
    return {
        "ray.io/node-type": node_type,
        "ray.io/group": group,
        "ray.io/is-ray-node": "yes",
        "ray.io/serve": serving,
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }


def _pod(template: Mapping[str, Any], field: str, labels: Mapping[str, str], group: Mapping[str, Any]) -> Pod:
    own = {**section(group, "labels"), **section(template, "metadata", "labels")}
    return Pod(field=field, labels={**labels, **own}, spec=section(template, "spec"), group=group)
