"""The GPUs that a cluster's nodes have, by type, and the worker groups that would use them.

Source of the labels: NVIDIA's GPU feature discovery, and Kubernetes' topology labels.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kuberay.manifest import Manifest, section
from kuberay.worker_groups import is_gpu

_PRODUCT, _MEMORY, _MIG = "nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/mig.strategy"
_ZONE = "topology.kubernetes.io/zone"
_WHOLE = "nvidia.com/gpu"
HEADROOM = 0.7
"""Of what a GPU answers at most: beyond it queues grow with every burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """One type: `memory_mib` of a GPU (0 if no label tells), how many there are, on how many nodes, in which zones."""

    product: str
    resource: str
    memory_mib: int
    count: int
    nodes: int
    zones: tuple[str, ...]
    mig: str

    @property
    def group_name(self) -> str:
        """A name for its worker group: at most 20 of a-z, 0-9 and -."""
        name = self.product.removeprefix("NVIDIA-")
        if self.resource != _WHOLE:
            name += "-" + self.resource.removeprefix("nvidia.com/")
        return re.sub(r"[^a-z0-9]+", "-", name.lower())[:20].strip("-") or "gpu"

    def line(self) -> str:
        """One line that tells of it."""
        memory = f"{self.memory_mib / 1024:.0f} GiB" if self.memory_mib else "memory not told"
        mig = f", MIG {self.mig}" if self.mig not in ("", "none") else ""
        zones = f" in {', '.join(self.zones)}" if self.zones else ""
        return f"{self.product}: {self.count} x {self.resource}, {memory}{mig}, {self.nodes} nodes{zones}"


def gpu_types(nodes: Iterable[Manifest]) -> list[GpuType]:
    """Return the types of GPU that nodes offer, the most numerous first; nodes without one are left out."""
    found: dict[tuple[str, str], list[tuple[Manifest, int]]] = {}
    for node in nodes:
        product = _label(node, _PRODUCT) or "unlabelled"
        for resource, amount in section(node, "status", "allocatable").items():
            if is_gpu(resource) and str(amount).isdecimal() and int(str(amount)[:6]) > 0:
                found.setdefault((product, resource), []).append((node, int(str(amount)[:6])))
    types = [
        GpuType(
            product=product,
            resource=resource,
            memory_mib=max(
                (int(memory) for node, _ in having if (memory := _label(node, _MEMORY)).isdecimal()), default=0
            ),
            count=sum(amount for _, amount in having),
            nodes=len(having),
            zones=tuple(sorted({zone for node, _ in having if (zone := _label(node, _ZONE))})),
            mig=max((_label(node, _MIG) for node, _ in having), default=""),
        )
        for (product, resource), having in found.items()
    ]
    return sorted(types, key=lambda one: (-one.count, one.product, one.resource))


def gpus_for(target_fps: float, *, fps_per_gpu: float) -> int:
    """Return how many GPUs answer so many frames a second, bursts among them; ValueError unless both are positive."""
    if not (target_fps > 0 and fps_per_gpu > 0 and math.isfinite(target_fps) and math.isfinite(fps_per_gpu)):
        raise ValueError("frames per second must be positive")
    return math.ceil(target_fps / (fps_per_gpu * HEADROOM))


def entry(one: GpuType, *, wanted: int) -> str:
    """Return the entry of `overlays/gpu/gpu_types.yaml` for whole GPUs: `wanted` stay, all that there are may come."""
    wanted = min(wanted, one.count)
    return f"""\
- op: add
  path: /spec/rayClusterConfig/workerGroupSpecs/-
  value:
    <<: *group
    groupName: {one.group_name}
    replicas: {wanted}
    minReplicas: {wanted}
    maxReplicas: {one.count}
    template:
      <<: *template
      spec:
        <<: *pod
        nodeSelector: {{{_PRODUCT}: {one.product}}}
"""


def is_whole(one: GpuType) -> bool:
    """Whether it is a whole GPU of a known product, for which an entry can be written."""
    return one.resource == _WHOLE and one.product != "unlabelled"


def _label(node: Manifest, name: str) -> str:
    return str(section(node, "metadata", "labels").get(name, ""))
