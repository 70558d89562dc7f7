"""What the groups of a RayService's pods must say: their sizes, their GPUs, what Ray is started with.

Source: KubeRay 1.7.0, controllers/ray/utils/validation.go and utils/resources.go.
"""

import re
from collections.abc import Iterator

from kuberay.manifest import Manifest, section, shown, whole
from kuberay.pods import Pod, pods_of, worker_groups

Finding = tuple[str, str]
_SEEN_BY_RAY = re.compile(r".*gpu|nvidia\.com/mig-\d+g\.\d+gb")
_SIZED_TWICE = ("num-cpus", "num-gpus", "memory")


def group_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yield what is wrong with the head's and the worker groups' settings."""
    names: set[str] = set()
    for field, group in worker_groups(manifest):
        name = shown(group.get("groupName"))
        if name in names:
            yield f"{field}.groupName", f"{name} is there twice"
        names.add(name)
        least, most = whole(group.get("minReplicas", 0)), whole(group.get("maxReplicas", 2**31))
        wanted = whole(group.get("replicas", least))
        if least is None or most is None or wanted is None:
            yield f"{field}.replicas", "and its least and most must be whole numbers"
            continue
        if least < 0:
            yield f"{field}.minReplicas", f"is {least} and must not be negative"
        if least > most:
            yield f"{field}.minReplicas", f"is {least}, more than maxReplicas {most}"
        elif not least <= wanted <= most:
            yield f"{field}.replicas", f"is {wanted}, outside minReplicas {least} to maxReplicas {most}"
    for pod in pods_of(manifest):
        yield from _start(pod)
        yield from _gpus(pod)


def gpu_requests(pod: Pod) -> dict[str, str]:
    """The GPUs or slices that a pod's first container is limited to, by resource name."""
    limits = section(pod.container, "resources", "limits")
    return {name: shown(amount).strip("'") for name, amount in limits.items() if is_gpu(name)}


def is_gpu(resource: object) -> bool:
    """Whether a resource of Kubernetes is a GPU, a share of one or a MIG slice."""
    if not isinstance(resource, str):
        return False
    return resource.endswith(("gpu", "gpu.shared")) or resource.startswith("nvidia.com/mig-")


def _start(pod: Pod) -> Iterator[Finding]:
    started = section(pod.group, "rayStartParams")
    where = pod.field.removesuffix(".template")
    if not pod.container:
        yield f"{pod.field}.spec.containers", "must hold Ray's container"
    if "labels" in started:
        yield f"{where}.rayStartParams.labels", "is refused by the operator; labels stand beside rayStartParams"
    if section(pod.group, "resources"):
        for key in _SIZED_TWICE:
            if key in started:
                yield f"{where}.rayStartParams.{key}", "must not stand beside resources, which says the same"


def _gpus(pod: Pod) -> Iterator[Finding]:
    given = {**section(pod.group, "rayStartParams"), **section(pod.group, "resources")}
    requests = section(pod.container, "resources", "requests")
    for name, amount in gpu_requests(pod).items():
        field = f"{pod.container_field}.resources.limits[{name}]"
        if not amount.isdecimal():
            yield field, f"is {amount!r}; a pod gets whole GPUs only, and Ray's num_gpus shares them inside"
        elif shown(requests.get(name, amount)).strip("'") != amount:
            yield field, f"is {amount}, not the {shown(requests[name])} of requests; GPUs are not overcommitted"
        if not _SEEN_BY_RAY.fullmatch(name) and not {"num-gpus", "GPU"} & set(given):
            yield field, "is not counted by Ray: rayStartParams must give num-gpus"
    for name in requests:
        if is_gpu(name) and name not in gpu_requests(pod):
            yield f"{pod.container_field}.resources.requests[{name}]", "must stand in limits too"
