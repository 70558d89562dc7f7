"""What a RayService's own fields must say, beyond the types that the API server checks.

Source: KubeRay 1.7.0, controllers/ray/utils/validation.go, and what its operator only finds while it reconciles.
"""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from kuberay.manifest import Manifest, section, shown, whole
from kuberay.pods import pods_of
from kuberay.serve_config import drain_s, serve_findings

Finding = tuple[str, str]
MAX_NAME = 47  # the operator appends six characters for a cluster's name, and a pod's name has more behind it
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
GATES = {
    "RayClusterNetworkPolicy": ("networkPolicy",),
    "RayClusterMTLS": ("tlsOptions",),
    "GCSFaultToleranceEmbeddedStorage": ("gcsFaultToleranceOptions", "storage"),
}
"""Feature gates of KubeRay 1.7 that are off unless its operator is started with them, and the field that needs each."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_TIMEOUT = re.compile(r"[1-9]\d*|([1-9]\d*(h|m|s))+")
_CLUSTER = "spec.rayClusterConfig"


def service_findings(manifest: Manifest, *, gates: AbstractSet[str]) -> Iterator[Finding]:
    """Yield what is wrong outside the worker groups; `gates` are the feature gates that the operator has on."""
    yield from _metadata(manifest)
    yield from _upgrade(manifest)
    yield from _gated(manifest, gates)
    yield from _cluster(manifest)
    text = section(manifest, "spec").get("serveConfigV2")
    for path, words in serve_findings(text):
        yield f"spec.serveConfigV2 {path}".rstrip(), words
    for pod in pods_of(manifest):
        grace_s = whole(pod.spec.get("terminationGracePeriodSeconds", 30))
        field = f"{pod.field}.spec.terminationGracePeriodSeconds"
        if grace_s is None:
            yield field, "must be a whole number of seconds"
        elif grace_s <= drain_s(text):
            yield field, f"is {grace_s}, not longer than the {drain_s(text):g} s that Serve's replicas may drain"


def _metadata(manifest: Manifest) -> Iterator[Finding]:
    name = manifest["metadata"]["name"]
    if len(name) > MAX_NAME:
        yield "metadata.name", f"has {len(name)} characters; more than {MAX_NAME} leave no room for a cluster's name"
    if not _NAME.fullmatch(name):
        yield "metadata.name", "must start with a letter and hold only a-z, 0-9 and -"
    timeout = section(manifest, "metadata", "annotations").get("ray.io/initializing-timeout")
    if timeout is not None and not _TIMEOUT.fullmatch(shown(timeout).strip("'")):
        yield "metadata.annotations[ray.io/initializing-timeout]", f"is {shown(timeout)}, neither seconds nor like 30m"


def _upgrade(manifest: Manifest) -> Iterator[Finding]:
    strategy = section(manifest, "spec", "upgradeStrategy")
    kind = strategy.get("type", UPGRADES[0])
    if kind not in UPGRADES:
        yield "spec.upgradeStrategy.type", f"is {shown(kind)}, none of {', '.join(UPGRADES)}"
    if kind != "NewClusterWithIncrementalUpgrade":
        return
    options = section(strategy, "clusterUpgradeOptions")
    field = "spec.upgradeStrategy.clusterUpgradeOptions"
    step, surge = whole(options.get("stepSizePercent", 0)), whole(options.get("maxSurgePercent", 100))
    interval_s = whole(options.get("intervalSeconds", 0))
    if step is None or surge is None or interval_s is None:
        yield field, "must have whole numbers as stepSizePercent, maxSurgePercent and intervalSeconds"
        return
    if not 0 <= step <= surge <= 100:  # noqa: PLR2004 - per cent
        yield f"{field}.stepSizePercent", f"is {step}; it must not be above maxSurgePercent {surge}, nor that above 100"
    if interval_s <= 0:
        yield f"{field}.intervalSeconds", "must be above 0"
    if not section(manifest, "spec", "rayClusterConfig").get("enableInTreeAutoscaling"):
        yield f"{_CLUSTER}.enableInTreeAutoscaling", "must be true for an incremental upgrade"


def _gated(manifest: Manifest, gates: AbstractSet[str]) -> Iterator[Finding]:
    cluster = section(manifest, "spec", "rayClusterConfig")
    for gate, path in GATES.items():
        if gate not in gates and path[-1] in section(cluster, *path[:-1]):
            yield ".".join((_CLUSTER, *path)), f"needs the operator's feature gate {gate}, which is off by default"


def _cluster(manifest: Manifest) -> Iterator[Finding]:
    cluster = section(manifest, "spec", "rayClusterConfig")
    if "externalStorageNamespace" in section(cluster, "gcsFaultToleranceOptions"):
        field = f"{_CLUSTER}.gcsFaultToleranceOptions.externalStorageNamespace"
        yield field, "must be left out: an upgrade's two clusters would share one state"
    for key in ("serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"):
        if key in section(manifest, "spec"):
            yield f"spec.{key}", "does nothing since KubeRay 1.1 and must be left out"
    if section(cluster, "autoscalerOptions").get("version") == "v2":
        for pod in pods_of(manifest):
            if pod.spec.get("restartPolicy", "Never") != "Never":
                yield f"{pod.field}.spec.restartPolicy", "must be Never or left out with the autoscaler v2"
