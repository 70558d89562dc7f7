"""`sightline cluster`: renders, checks and applies manifests, waits for them, and tells how the service is."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.core.errors import InvalidRequestError, NotFoundError
from kuberay import release
from kuberay.api_server import ApiServer, connected
from kuberay.manifest import Manifest, read_manifests
from kuberay.node_types import HEADROOM, entry, gpu_types, gpus_for, is_whole
from kuberay.problem import Problem
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
    _add_live(actions)
    render = actions.add_parser("render", help="the manifests of a kustomize overlay, on stdout")
    render.add_argument("overlay", type=Path, metavar="OVERLAY", help="a folder with a kustomization.yaml")


def _add_live(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--namespace", "-n", default="default")
    where.add_argument("--context", help="of the kubeconfig; its current one if left out")
    where.add_argument("--name", default="sightline", help="of the RayService")
    changing = argparse.ArgumentParser(add_help=False, parents=[where])
    changing.add_argument("--force", action="store_true", help="take fields over that others own")
    apply = actions.add_parser("apply", parents=[changing], help="validate, rehearse on the server, apply")
    apply.add_argument("files", nargs="+", metavar="FILE", help="YAML of one or more manifests; - is stdin")
    actions.add_parser("rollback", parents=[changing], help="what was applied before; ends an upgrade that hangs")
    actions.add_parser("status", parents=[where], help="how the service is; exit code 1 while it is not all there")
    wait = actions.add_parser("wait", parents=[where], help="until what was applied last serves, all of it")
    wait.add_argument("--timeout-s", type=float, default=1800.0, metavar="S")
    nodes = actions.add_parser("nodes", parents=[where], help="the GPUs that nodes have, and worker groups for them")
    nodes.add_argument("--file", metavar="FILE", help="of `kubectl get nodes -o yaml`, in place of the cluster itself")
    nodes.add_argument("--fps", type=float, metavar="N", help="frames a second that the service shall answer")
    nodes.add_argument("--fps-per-gpu", type=float, metavar="N", help="that one GPU answers: `sightline bench` tells")
    logs = actions.add_parser("logs", parents=[where], help="the last lines of every pod")
    logs.add_argument("--lines", type=int, default=50, metavar="N")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where something is wrong; errors come as SightlineError or OSError."""
    if arguments.action == "render":
        sys.stdout.write(rendered(arguments.overlay))
        return 0
    if arguments.action == "validate":
        return _validate(arguments)
    if arguments.action == "nodes" and arguments.file is not None:
        return _nodes(arguments, _read(arguments.file))
    server = ApiServer(connected(context=arguments.context), namespace=arguments.namespace)
    return _live(arguments, server)


def _live(arguments: argparse.Namespace, server: ApiServer) -> int:
    match arguments.action:
        case "apply":
            manifests = [manifest for file in arguments.files for manifest in _read(file)]
            if _told(problems(manifests)):
                return 1
            release.apply(server, manifests, say=_say, force=arguments.force)
        case "rollback":
            release.roll_back(server, arguments.name, say=_say, force=arguments.force)
        case "nodes":
            return _nodes(arguments, server.find("v1", "Node").get("items", []))
        case "wait":
            release.wait(server, arguments.name, timeout_s=arguments.timeout_s, say=_say)
        case "logs":
            sys.stdout.writelines(f"{line}\n" for line in release.logs(server, lines=arguments.lines))
        case _:
            lines, is_done = release.status(server, arguments.name)
            sys.stdout.writelines(f"{line}\n" for line in lines)
            return 0 if is_done else 1
    return 0


def _nodes(arguments: argparse.Namespace, nodes: Sequence[Manifest]) -> int:
    found = gpu_types(nodes)
    for one in found:
        _say(one.line())
    wanted = 1
    if arguments.fps is not None or arguments.fps_per_gpu is not None:
        try:
            wanted = gpus_for(arguments.fps or 0.0, fps_per_gpu=arguments.fps_per_gpu or 0.0)
        except ValueError as error:
            raise InvalidRequestError(f"--fps and --fps-per-gpu go together: {error}") from None
        _say(f"{wanted} GPUs for {arguments.fps:g} frames a second, each at {HEADROOM:.0%} of what it can")
    for one in found:
        if not is_whole(one):
            _say(
                f"{one.group_name}: no entry, see the overlay mig for slices; a GPU without a product needs its labels"
            )
            continue
        sys.stdout.write(entry(one, wanted=wanted))
        wanted = max(wanted - one.count, 0)
    if wanted and found:
        _say(f"{wanted} GPUs are missing")
    return 0 if found and not wanted else 1


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _told(found: list[Problem]) -> int:
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    return len(found)


def _validate(arguments: argparse.Namespace) -> int:
    manifests = [manifest for file in arguments.files for manifest in _read(file)]
    nodes = None
    if arguments.nodes is not None:
        nodes = [node for node in _read(arguments.nodes) if node["kind"] == "Node"]
    found = problems(manifests, nodes=nodes, gates=frozenset(arguments.gate))
    _say(f"{len(manifests)} manifests, {_told(found)} problems")
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
