"""`sightline cluster`: renders an overlay, and checks manifests for what the API server admits."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from app.core.errors import InvalidRequestError, NotFoundError
from kuberay.manifest import Manifest, read_manifests
from kuberay.ray_service import GATES
from kuberay.validation import problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `sightline cluster …`."""
    actions = parser.add_subparsers(dest="action", required=True)
    validate = actions.add_parser("validate", help="what the API server would admit and the operator refuse")
    validate.add_argument("files", nargs="+", metavar="FILE", help="YAML of one or more manifests; - is stdin")
    validate.add_argument("--nodes", metavar="FILE", help="of `kubectl get nodes -o yaml`: GPUs are held against it")
    validate.add_argument(
        "--gate", action="append", choices=sorted(GATES), default=[], help="on in the operator; may be repeated"
    )
    render = actions.add_parser("render", help="the manifests of a kustomize overlay, on stdout")
    render.add_argument("overlay", type=Path, metavar="OVERLAY", help="a folder with a kustomization.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where manifests have problems; errors come as SightlineError or OSError."""
    if arguments.action == "render":
        sys.stdout.write(rendered(arguments.overlay))
        return 0
    manifests = [manifest for file in arguments.files for manifest in _read(file)]
    nodes = None
    if arguments.nodes is not None:
        nodes = [node for node in _read(arguments.nodes) if node["kind"] == "Node"]
    found = problems(manifests, nodes=nodes, gates=frozenset(arguments.gate))
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    sys.stderr.write(f"{len(manifests)} manifests, {len(found)} problems\n")
    return 1 if found else 0


def rendered(overlay: Path, *, program: str = "kubectl") -> str:
    """Return what `kubectl kustomize` makes of an overlay.

    NotFoundError without kubectl on PATH, InvalidRequestError with kubectl's words for what cannot be rendered.
    """
    found = shutil.which(program)
    if found is None:
        raise NotFoundError(f"{program} is not on PATH; render needs it for `kubectl kustomize`")
    made = subprocess.run(  # noqa: S603 - the overlay is the user's own argument, and no shell reads it
        [found, "kustomize", str(overlay.absolute())], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise InvalidRequestError(f"{overlay} cannot be rendered: {made.stderr.strip()}")
    return made.stdout


def _read(file: str) -> list[Manifest]:
    if file == "-":
        return read_manifests(sys.stdin.read(), name="stdin")
    return read_manifests(Path(file).read_text(encoding="utf-8"), name=Path(file).name)
