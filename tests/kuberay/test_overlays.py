"""Every overlay renders, is what the API server takes, and holds what its README promises."""

import copy
import math
import shutil
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from kuberay.manifest import Manifest, section
from kuberay.pods import Pod, pods_of
from kuberay.serve_config import drain_s
from kuberay.serve_patches import DIFFERENCES, OVERLAYS, ROOT, patch, serve_config
from kuberay.validation import problems
from kuberay.worker_groups import gpu_requests
from tests.kuberay.overlays import COMPONENTS, NAMES, objects_of, ray_service, with_component
from tests.kuberay.schemas import CRDS, core_errors, crd_errors

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for kustomize")
FOREIGN = {"gateway.networking.k8s.io/v1", "networking.istio.io/v1", "monitoring.coreos.com/v1"}
"""Groups whose schemas are not at hand here."""


def every_set() -> list[Any]:
    return [
        *(pytest.param(lambda name=name: objects_of(name), id=name) for name in NAMES),
        *(pytest.param(lambda name=name: with_component(name), id=f"with {name}") for name in COMPONENTS),
    ]


@pytest.mark.parametrize("rendering", every_set())
def test_it_renders_and_has_no_problem(rendering: Any) -> None:
    assert problems(rendering()) == []


@pytest.mark.parametrize("rendering", every_set())
def test_kubernetes_knows_every_field_of_its_own_objects(rendering: Any) -> None:
    others = [one for one in rendering() if one["apiVersion"] != "ray.io/v1" and one["apiVersion"] not in FOREIGN]
    assert len(others) >= 7
    assert [error for manifest in others for error in core_errors(manifest)] == []


@pytest.mark.skipif(not CRDS.exists(), reason="needs KubeRay's CRDs in ../shared/kuberay-crds")
@pytest.mark.parametrize("rendering", every_set())
def test_kuberay_knows_every_field_of_its_object(rendering: Any) -> None:
    (service,) = (manifest for manifest in rendering() if manifest["kind"] == "RayService")
    assert crd_errors(service) == []


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    budget = next(one for one in objects_of("cpu") if one["kind"] == "PodDisruptionBudget")
    planted = {**budget, "spec": {**budget["spec"], "maxUnavailble": 1}}
    assert core_errors(planted) == ["PodDisruptionBudget.spec.maxUnavailble is not known"]


@pytest.mark.skipif(not CRDS.exists(), reason="needs KubeRay's CRDs in ../shared/kuberay-crds")
def test_a_field_that_kuberay_does_not_know_and_a_wrong_type_are_found() -> None:
    planted: Any = copy.deepcopy(ray_service("cpu"))
    planted["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replicas"] = "two"
    planted["spec"]["rayClusterConfg"] = {}
    assert len(crd_errors(planted)) == 2


@pytest.mark.parametrize("overlay", NAMES)
def test_the_serve_configuration_is_the_projects_own_and_what_is_named_as_different(overlay: str) -> None:
    assert (OVERLAYS / overlay / "serve_config_patch.yaml").read_text(encoding="utf-8") == patch(overlay)
    deployed = yaml.safe_load(section(ray_service(overlay), "spec")["serveConfigV2"])
    assert deployed == serve_config(overlay)
    own = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))
    assert set(differing(own, deployed)) == {"http_options.host", *named(overlay)}


def differing(own: Any, other: Any, where: str = "") -> list[str]:
    """The paths at which two configurations differ; what one lacks is different."""
    if isinstance(own, Mapping) and isinstance(other, Mapping):
        keys = {*own, *other}
        return [
            found for key in keys for found in differing(own.get(key), other.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(own, list) and isinstance(other, list) and len(own) == len(other):
        pairs = zip(own, other, strict=True)
        return [
            found
            for one, two in pairs
            for found in differing(one, two, f"{where}.{one['name']}" if isinstance(one, Mapping) else where)
        ]
    return [] if own == other else [where]


def named(overlay: str) -> set[str]:
    """The paths that an overlay says it changes."""
    args, deployments = DIFFERENCES[overlay]
    top = "applications.sightline"
    found = set(differing({}, {}, "")) | {f"{top}.args.{path}" for path in leaves(args)}
    return found | {f"{top}.deployments.{path}" for path in leaves(deployments)}


def leaves(value: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}.{leaf}".rstrip(".")
        for key, inner in value.items()
        for leaf in (leaves(inner) if isinstance(inner, Mapping) else [""])
    ]


def restricted_findings(pod: Pod) -> list[str]:
    """What of Kubernetes' Pod Security Standard `restricted` a pod breaks. Source: its policy page, 1.33."""
    found = []
    general = section(pod.spec, "securityContext")
    if not general.get("runAsNonRoot"):
        found.append("runAsNonRoot")
    if section(general, "seccompProfile").get("type") != "RuntimeDefault":
        found.append("seccompProfile")
    for container in [*pod.spec["containers"], *pod.spec.get("initContainers", [])]:
        own = section(container, "securityContext")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("allowPrivilegeEscalation")
        if section(own, "capabilities").get("drop") != ["ALL"] or section(own, "capabilities").get("add"):
            found.append("capabilities")
        if own.get("privileged") or any("hostPort" in port for port in container.get("ports", [])):
            found.append("privileged")
        if not own.get("readOnlyRootFilesystem"):  # ours, not the standard's
            found.append("readOnlyRootFilesystem")
    if any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    allowed = {"name", "emptyDir", "persistentVolumeClaim", "secret", "configMap", "projected"}
    return found + [str(volume) for volume in pod.spec.get("volumes", []) if set(volume) - allowed]


@pytest.mark.parametrize("overlay", NAMES)
def test_every_pod_is_restricted(overlay: str) -> None:
    pods = [pod for manifest in objects_of(overlay) for pod in pods_of(manifest)]
    assert len(pods) >= 2
    assert [finding for pod in pods for finding in restricted_findings(pod)] == []
    autoscaler = section(ray_service(overlay), "spec", "rayClusterConfig", "autoscalerOptions")
    assert section(autoscaler, "securityContext")["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("securityContext", "runAsNonRoot"), False),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("containers", 0, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["SYS_NICE"]}),
        (("hostNetwork",), True),
        (("volumes",), [{"name": "x", "hostPath": {"path": "/"}}]),
    ],
)
def test_a_pod_that_is_not_restricted_is_found(path: tuple[Any, ...], value: object) -> None:
    pod = pods_of(ray_service("cpu"))[1]
    spec: Any = copy.deepcopy(pod.spec)
    place = spec
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(restricted_findings(Pod(field="", labels={}, spec=spec, group={}))) == 1


def workers(overlay: str) -> list[Pod]:
    return [pod for pod in pods_of(ray_service(overlay)) if pod.labels["ray.io/node-type"] == "worker"]


@pytest.mark.parametrize("overlay", NAMES)
def test_a_worker_leaves_the_service_first_drains_then_and_is_given_the_time(overlay: str) -> None:
    text = section(ray_service(overlay), "spec")["serveConfigV2"]
    for pod in workers(overlay):
        slept_s = section(pod.container, "lifecycle", "preStop", "sleep")["seconds"]
        assert pod.spec["terminationGracePeriodSeconds"] >= slept_s + drain_s(text) + 30
        assert pod.spec["automountServiceAccountToken"] is False
        assert {(port["name"], port["containerPort"]) for port in pod.container["ports"]} == {
            ("metrics", 8080),
            ("serve", 8000),
            ("serve-grpc", 9000),
        }


@pytest.mark.parametrize("overlay", NAMES)
def test_a_gpu_pod_has_the_processors_that_feed_it(overlay: str) -> None:
    """Row 33: max(2, ceil(4 x billions of parameters)); models up to 0.5 billion are what these are sized for."""
    with_gpu = [pod for pod in workers(overlay) if gpu_requests(pod)]
    assert len(with_gpu) == {"cpu": 0, "mig": 1}.get(overlay, 2)
    for pod in with_gpu:
        assert int(section(pod.container, "resources", "requests")["cpu"]) >= max(2, math.ceil(0.5 * 4))
        assert list(gpu_requests(pod).values()) == ["1"]


def reaches(policies: list[Manifest], pod: Pod, *, namespace: Mapping[str, str], caller: Mapping[str, str]) -> set[Any]:
    """The ports of a pod that a caller of another namespace reaches; "all" where a rule names none."""
    from kuberay.selection import is_selected

    found: set[Any] = set()
    for policy in policies:
        spec = section(policy, "spec")
        if "Ingress" not in spec["policyTypes"] or not is_selected(spec["podSelector"], pod.labels):
            continue
        for rule in spec.get("ingress", []):
            peers = [peer for peer in rule.get("from", [{}]) if "namespaceSelector" in peer]
            if any(
                is_selected(peer["namespaceSelector"], namespace) and is_selected(peer.get("podSelector", {}), caller)
                for peer in peers
            ):
                found |= {port["port"] for port in rule.get("ports", [])} or {"all"}
    return found


@pytest.mark.parametrize("overlay", NAMES)
def test_only_the_edge_reaches_the_doors_and_nobody_rays_own_ports(overlay: str) -> None:
    policies = [one for one in objects_of(overlay) if one["kind"] == "NetworkPolicy"]
    head, *others = pods_of(ray_service(overlay))
    edge, operator = {"sightline.io/edge": "true"}, {"app.kubernetes.io/name": "kuberay-operator"}
    for worker in others:
        assert reaches(policies, worker, namespace=edge, caller={}) == {8000, 9000}
        assert reaches(policies, worker, namespace={}, caller={}) == set()
    assert reaches(policies, head, namespace=edge, caller={}) == set()
    assert reaches(policies, head, namespace={}, caller=operator) == {8265}
    opened: Any = copy.deepcopy(policies)
    opened.append(
        {"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}]}]}}
    )
    assert reaches(opened, head, namespace={}, caller={}) == {"all"}


def test_high_availability_is_two_of_everything_on_two_hosts_and_records_that_outlive_the_head() -> None:
    cluster = section(ray_service("gpu-ha"), "spec", "rayClusterConfig")
    assert set(cluster["gcsFaultToleranceOptions"]) == {"redisAddress", "redisPassword"}
    (application,) = serve_config("gpu-ha")["applications"]
    for deployment in application["deployments"]:
        assert (deployment["num_replicas"], deployment["max_replicas_per_node"]) == (2, 1)
    for group in cluster["workerGroupSpecs"][:2]:
        assert group["minReplicas"] >= 2
        spreads = {
            one["topologyKey"]: one["whenUnsatisfiable"]
            for one in group["template"]["spec"]["topologySpreadConstraints"]
        }
        assert spreads["kubernetes.io/hostname"] == "DoNotSchedule"


def test_no_cluster_starts_without_a_token_or_with_replicas_on_its_head() -> None:
    for overlay in NAMES:
        cluster = section(ray_service(overlay), "spec", "rayClusterConfig")
        assert cluster["authOptions"] == {"mode": "token"}
        assert section(cluster, "headGroupSpec", "rayStartParams")["num-cpus"] == "0"
        assert section(ray_service(overlay), "spec")["excludeHeadPodFromServeSvc"] is True
