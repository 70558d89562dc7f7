"""The GPUs of a cluster by type, and entries for them that the gpu overlay takes as they are."""

import shutil
from pathlib import Path

import pytest
import yaml

from app.__main__ import main
from kuberay.command import rendered
from kuberay.manifest import read_manifests
from kuberay.node_types import entry, gpu_types, gpus_for
from kuberay.serve_patches import OVERLAYS
from kuberay.validation import problems

NODES = """
kind: List
items:
  - kind: Node
    metadata:
      name: a
      labels:
        nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3
        nvidia.com/gpu.memory: "81559"
        topology.kubernetes.io/zone: z1
    status: {allocatable: {cpu: "64", nvidia.com/gpu: "8"}}
  - kind: Node
    metadata:
      name: b
      labels:
        nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3
        nvidia.com/gpu.memory: "81559"
        topology.kubernetes.io/zone: z2
    status: {allocatable: {cpu: "64", nvidia.com/gpu: "8"}}
  - kind: Node
    metadata: {name: c, labels: {nvidia.com/gpu.product: NVIDIA-A100-SXM4-40GB, nvidia.com/mig.strategy: mixed}}
    status: {allocatable: {cpu: "64", nvidia.com/gpu: "0", nvidia.com/mig-1g.5gb: "7"}}
  - kind: Node
    metadata: {name: d}
    status: {allocatable: {cpu: "8"}}
"""


def test_types_are_counted_with_memory_slices_and_zones() -> None:
    h100, slices = gpu_types(read_manifests(NODES, name="nodes"))
    assert h100.line() == "NVIDIA-H100-80GB-HBM3: 16 x nvidia.com/gpu, 80 GiB, 2 nodes in z1, z2"
    assert slices.line() == "NVIDIA-A100-SXM4-40GB: 7 x nvidia.com/mig-1g.5gb, memory not told, MIG mixed, 1 nodes"
    assert (h100.group_name, slices.group_name) == ("h100-80gb-hbm3", "a100-sxm4-40gb-mig-1")


@pytest.mark.parametrize(("fps", "each", "gpus"), [(700, 100, 10), (701, 100, 11), (1, 100, 1)])
def test_a_gpu_is_counted_with_room_for_bursts(fps: float, each: float, gpus: int) -> None:
    assert gpus_for(fps, fps_per_gpu=each) == gpus


@pytest.mark.parametrize(("fps", "each"), [(0, 1), (1, 0), (float("nan"), 1), (float("inf"), 1)])
def test_rates_that_make_no_sense_are_refused(fps: float, each: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        gpus_for(fps, fps_per_gpu=each)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for kustomize")
def test_an_entry_is_all_that_a_new_type_takes(tmp_path: Path) -> None:
    shutil.copytree(OVERLAYS.parent, tmp_path / "kuberay", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    types = tmp_path / "kuberay" / "overlays" / "gpu" / "gpu_types.yaml"
    nodes = read_manifests(NODES, name="nodes")
    types.write_text(types.read_text(encoding="utf-8") + entry(gpu_types(nodes)[0], wanted=3), encoding="utf-8")
    made = read_manifests(rendered(types.parent), name="made")
    (service,) = (one for one in made if one["kind"] == "RayService")
    group = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][-1]
    assert (group["groupName"], group["minReplicas"], group["maxReplicas"]) == ("h100-80gb-hbm3", 3, 16)
    assert group["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert problems(made) == []


def test_the_command_says_what_is_there_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nodes.yaml").write_text(NODES, encoding="utf-8")
    asked = ["cluster", "nodes", "--file", str(tmp_path / "nodes.yaml")]
    assert main([*asked, "--fps", "700", "--fps-per-gpu", "100"]) == 0
    out, err = capsys.readouterr()
    assert [one["value"]["groupName"] for one in yaml.safe_load(ANCHORS + out)[3:]] == ["h100-80gb-hbm3"]
    assert "10 GPUs for 700 frames a second" in err
    assert main([*asked, "--fps", "7000", "--fps-per-gpu", "100"]) == 1
    assert "84 GPUs are missing" in capsys.readouterr().err
    assert main([*asked, "--fps", "7000"]) == 1
    assert "go together" in capsys.readouterr().err


ANCHORS = "- &group {a: 1}\n- &template {b: 1}\n- &pod {c: 1}\n"
