"""The overlays as kustomize renders them, once each; and a folder of one overlay with one component more."""

import functools
import os
import tempfile
from pathlib import Path

from kuberay.command import rendered
from kuberay.manifest import Manifest, read_manifests
from kuberay.serve_patches import DIFFERENCES, OVERLAYS

NAMES = sorted(DIFFERENCES)
COMPONENTS = sorted(path.parent.name for path in (OVERLAYS.parent / "components").glob("*/kustomization.yaml"))


@functools.cache
def objects_of(overlay: str) -> list[Manifest]:
    """What an overlay applies."""
    return read_manifests(rendered(OVERLAYS / overlay), name=overlay)


def ray_service(overlay: str) -> Manifest:
    """The one RayService of an overlay."""
    (found,) = (manifest for manifest in objects_of(overlay) if manifest["kind"] == "RayService")
    return found


@functools.cache
def with_component(name: str) -> list[Manifest]:
    """What an overlay applies with a component on top, as a user's own kustomization has it."""
    overlay = "cpu" if name == "models" else "gpu"
    with tempfile.TemporaryDirectory() as folder:
        here = os.path.relpath(OVERLAYS.parent, Path(folder).resolve())
        text = f"resources: [{here}/overlays/{overlay}]\ncomponents: [{here}/components/{name}]\n"
        (Path(folder) / "kustomization.yaml").write_text(text, encoding="utf-8")
        return read_manifests(rendered(Path(folder)), name=name)
