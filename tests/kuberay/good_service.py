"""A small set of manifests with nothing wrong, fresh each time, for tests that break one field."""

from typing import Any

import yaml

SERVE_CONFIG = """
applications:
  - name: sightline
    import_path: deployments.application:build
    args: {layout: staged}
    deployments:
      - {name: Ingress, num_replicas: 1, graceful_shutdown_timeout_s: 30}
      - {name: Detector, num_replicas: 1, ray_actor_options: {num_gpus: 0.5}}
"""

MANIFESTS = """
apiVersion: ray.io/v1
kind: RayService
metadata: {name: sightline}
spec:
  excludeHeadPodFromServeSvc: true
  upgradeStrategy: {type: NewCluster}
  rayClusterConfig:
    enableInTreeAutoscaling: true
    autoscalerOptions: {version: v2}
    headGroupSpec:
      rayStartParams: {num-cpus: "0"}
      template:
        metadata: {labels: {app: sightline, part: head}}
        spec:
          terminationGracePeriodSeconds: 60
          containers: [{name: ray-head, image: sightline}]
    workerGroupSpecs:
      - groupName: gpu
        replicas: 1
        minReplicas: 1
        maxReplicas: 4
        rayStartParams: {}
        template:
          metadata: {labels: {app: sightline, part: worker}}
          spec:
            terminationGracePeriodSeconds: 60
            nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
            tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
            containers:
              - {name: ray-worker, image: sightline, resources: {limits: {nvidia.com/gpu: 1}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: workers}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: sightline, ray.io/node-type: worker}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: sightline}}}
"""

NODES = """
kind: List
items:
  - kind: Node
    metadata: {name: one, labels: {nvidia.com/gpu.product: NVIDIA-L4}}
    spec: {taints: [{key: nvidia.com/gpu, value: present, effect: NoSchedule}]}
    status: {allocatable: {cpu: "16", nvidia.com/gpu: "2", nvidia.com/gpu.shared: "4"}}
"""


def good_manifests() -> list[Any]:
    """The RayService first, then its budget and its network policy."""
    service, *others = yaml.safe_load_all(MANIFESTS)
    service["spec"]["serveConfigV2"] = SERVE_CONFIG
    return [service, *others]
