"""What `sightline cluster validate` refuses: one field of good manifests is broken, one sentence names it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from app.__main__ import main
from app.core.errors import InvalidRequestError, NotFoundError
from kuberay.command import rendered
from kuberay.manifest import read_manifests
from kuberay.serve_config import APPLICATION_KEYS, DEPLOYMENT_KEYS, TOP_KEYS
from kuberay.validation import problems
from tests.kuberay.good_service import NODES, SERVE_CONFIG, good_manifests

CLUSTER = "spec.rayClusterConfig"
GROUP = f"{CLUSTER}.workerGroupSpecs[0]"
POD = f"{GROUP}.template.spec"
GPU = f"{POD}.containers[0].resources.limits[nvidia.com/gpu]"
SERVE = "spec.serveConfigV2"
APPLICATION = f"{SERVE} applications[0]"
SPEC = (0, "spec")
GROUP_AT = (*SPEC, "rayClusterConfig", "workerGroupSpecs", 0)
POD_AT = (*GROUP_AT, "template", "spec")
LIMITS_AT = (*POD_AT, "containers", 0, "resources", "limits")
INCREMENTAL = {
    "type": "NewClusterWithIncrementalUpgrade",
    "clusterUpgradeOptions": {"stepSizePercent": 60, "maxSurgePercent": 50, "intervalSeconds": 3},
}

BROKEN = {
    "upgrade type": ((*SPEC, "upgradeStrategy", "type"), "NewClutser", "spec.upgradeStrategy.type"),
    "name length": ((0, "metadata", "name"), "s" * 48, "metadata.name"),
    "initializing timeout": (
        (0, "metadata", "annotations"),
        {"ray.io/initializing-timeout": "soon"},
        "metadata.annotations[ray.io/initializing-timeout]",
    ),
    "step over surge": (
        (*SPEC, "upgradeStrategy"),
        INCREMENTAL,
        "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent",
    ),
    "min over max": ((*GROUP_AT, "minReplicas"), 5, f"{GROUP}.minReplicas"),
    "replicas over max": ((*GROUP_AT, "replicas"), 9, f"{GROUP}.replicas"),
    "fractional GPU": ((*LIMITS_AT, "nvidia.com/gpu"), "0.5", GPU),
    "shared GPU unseen by Ray": (LIMITS_AT, {"nvidia.com/gpu.shared": 1}, GPU.replace("gpu]", "gpu.shared]")),
    "gate": ((*SPEC, "rayClusterConfig", "networkPolicy"), {"mode": "DenyAll"}, f"{CLUSTER}.networkPolicy"),
    "fixed namespace": (
        (*SPEC, "rayClusterConfig", "gcsFaultToleranceOptions"),
        {"externalStorageNamespace": "one"},
        f"{CLUSTER}.gcsFaultToleranceOptions.externalStorageNamespace",
    ),
    "restart policy": ((*POD_AT, "restartPolicy"), "Always", f"{POD}.restartPolicy"),
    "short grace": ((*POD_AT, "terminationGracePeriodSeconds"), 30, f"{POD}.terminationGracePeriodSeconds"),
    "labels in start parameters": (
        (*GROUP_AT, "rayStartParams"),
        {"labels": "a=b"},
        f"{GROUP}.rayStartParams.labels",
    ),
    "Serve config not YAML": ((*SPEC, "serveConfigV2"), "applications: [", SERVE),
    "Serve key": (
        (*SPEC, "serveConfigV2"),
        SERVE_CONFIG.replace("num_replicas: 1,", "num_replica: 1,", 1),
        f"{APPLICATION}.deployments[0].num_replica",
    ),
    "Serve deployment": (
        (*SPEC, "serveConfigV2"),
        SERVE_CONFIG.replace("Detector", "Detektor"),
        f"{APPLICATION}.deployments[1].name",
    ),
    "settings": ((*SPEC, "serveConfigV2"), SERVE_CONFIG.replace("layout", "layuot"), f"{APPLICATION}.args.layuot"),
    "budget without pods": ((1, "spec", "selector", "matchLabels", "app"), "sihgtline", "spec.selector"),
    "policy without pods": ((2, "spec", "podSelector", "matchLabels", "app"), "sihgtline", "spec.podSelector"),
    "more GPUs than a node has": ((*LIMITS_AT, "nvidia.com/gpu"), 3, GPU),
    "no such node": ((*POD_AT, "nodeSelector"), {"nvidia.com/gpu.product": "NVIDIA-L40"}, f"{POD}.nodeSelector"),
    "taint": ((*POD_AT, "tolerations"), [], f"{POD}.tolerations"),
}


def changed(path: tuple[str | int, ...], value: object) -> list[Any]:
    """The good manifests with one value put at a path."""
    manifests = good_manifests()
    place: Any = manifests
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return manifests


def nodes() -> list[Any]:
    return list(read_manifests(NODES, name="nodes"))


def test_good_manifests_have_no_problem() -> None:
    assert problems(good_manifests(), nodes=nodes()) == []


@pytest.mark.parametrize(("path", "value", "field"), BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_refused_with_one_sentence_that_names_the_field(
    path: tuple[str | int, ...], value: object, field: str
) -> None:
    found = problems(changed(path, value), nodes=nodes())
    assert [problem.field for problem in found] == [field]
    sentence = str(found[0])
    assert field in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_gate_that_is_on_is_no_problem() -> None:
    manifests = changed((*SPEC, "rayClusterConfig", "networkPolicy"), {"mode": "DenyAll"})
    assert problems(manifests, gates={"RayClusterNetworkPolicy"}) == []


def test_the_keys_are_those_of_rays_schema() -> None:
    assert set(ServeDeploySchema.model_fields) == TOP_KEYS
    assert set(ServeApplicationSchema.model_fields) == APPLICATION_KEYS
    assert set(DeploymentSchema.model_fields) == DEPLOYMENT_KEYS


@pytest.mark.parametrize("text", ["a: [", "", "---\n", "metadata: {name: a}", "kind: Service", "just words"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^given "):
        read_manifests(text, name="given")


def test_exit_code_0_for_good_manifests(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(yaml.safe_dump_all(good_manifests()), encoding="utf-8")
    (tmp_path / "nodes.yaml").write_text(NODES, encoding="utf-8")
    assert main(["cluster", "validate", str(tmp_path / "good.yaml"), "--nodes", str(tmp_path / "nodes.yaml")]) == 0


def test_exit_code_1_and_the_sentence_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump_all(changed((*GROUP_AT, "minReplicas"), 5)), encoding="utf-8")
    assert main(["cluster", "validate", str(tmp_path / "bad.yaml")]) == 1
    assert capsys.readouterr().out == f"RayService sightline: {GROUP}.minReplicas is 5, more than maxReplicas 4.\n"


def test_exit_code_1_for_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    assert main(["cluster", "validate", str(tmp_path / "bad.yaml")]) == 1


@pytest.mark.parametrize("wrong", [["validate"], ["render"], ["validate", "f.yaml", "--gate", "Unknown"], ["nothing"]])
def test_exit_code_2_for_wrong_usage(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["cluster", *wrong])
    assert stopped.value.code == 2


def test_rendering_without_kubectl_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not on PATH"):
        rendered(tmp_path, program="kubectl-that-is-not-there")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_an_overlay_is_rendered(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(yaml.safe_dump_all(good_manifests()), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text("resources: [service.yaml]\nnamespace: video\n", encoding="utf-8")
    made = read_manifests(rendered(tmp_path), name="made")
    assert {manifest["metadata"]["namespace"] for manifest in made} == {"video"}
    assert problems(made, nodes=nodes()) == []
