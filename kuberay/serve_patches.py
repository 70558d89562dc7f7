"""The Serve configuration of each overlay: `serve_config.yaml`, and what differs from it on a cluster.

`python -m kuberay.serve_patches` writes the files that kustomize reads; a test holds them to this.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
OVERLAYS = ROOT / "kuberay" / "overlays"
_ALL: Mapping[str, Any] = {"http_options": {"host": "0.0.0.0"}}  # noqa: S104  pods; the network policies say who reaches it
_GPU_ARGS = {"model": {"store": "/models"}}
_ON_GPU = {"Detector": {"max_surge_percent": 0, "ray_actor_options": {"num_gpus": 1}}}
_TWICE = {
    name: {"num_replicas": 2, "max_replicas_per_node": 1}
    for name in ("Ingress", "Decoder", "Preprocessor", "Detector", "Tracker")
}
_SLICE_BYTES = 8 * 1024**3
"""What a model may take of a slice of 10 GB: the rest is CUDA's own context and fragmentation."""


def _merged(*changes: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
            made[key] = _merged(made[key], value) if both else copy.deepcopy(value)
    return made


DIFFERENCES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "cpu": ({}, {}),
    "gpu": (_GPU_ARGS, _ON_GPU),
    "gpu-ha": (_GPU_ARGS, _merged(_ON_GPU, _TWICE)),
    "mig": (_merged(_GPU_ARGS, {"model": {"vram_bytes": _SLICE_BYTES}}), _ON_GPU),
    "canary": (_GPU_ARGS, _merged(_ON_GPU, {"Detector": {"num_replicas": 4}})),
}
"""Per overlay what differs in the application's `args`, and in each deployment. Everything else is as in the file."""


def serve_config(overlay: str) -> dict[str, Any]:
    """Return what an overlay deploys, as Serve reads it; KeyError for an overlay that there is not."""
    args, deployments = DIFFERENCES[overlay]
    config = _merged(yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8")), _ALL)
    (application,) = config["applications"]
    application["args"] = _merged(application["args"], args)
    application["deployments"] = [
        _merged(deployment, deployments.get(deployment["name"], {})) for deployment in application["deployments"]
    ]
    return config


def patch(overlay: str) -> str:
    """Return the text of an overlay's `serve_config_patch.yaml`."""
    text = yaml.safe_dump(serve_config(overlay), sort_keys=False, width=100)
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return (
        "# serve_config.yaml, and what differs here: written by `python -m kuberay.serve_patches`.\n"
        "apiVersion: ray.io/v1\nkind: RayService\nmetadata:\n  name: sightline\nspec:\n  serveConfigV2: |\n" + lines
    )


if __name__ == "__main__":
    for name in DIFFERENCES:
        (OVERLAYS / name / "serve_config_patch.yaml").write_text(patch(name), encoding="utf-8")
