"""What was applied, forward and back: server-side apply of manifests, the wait for them, the return to those before."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import yaml

from app.core.errors import DeadlineError, InvalidRequestError, NotFoundError, UnavailableError
from kuberay.api_server import ApiServer, GoneError
from kuberay.manifest import Manifest, read_manifests, section, title
from kuberay.rollout import Rollout, lines_of, rollout_of

RAY: Final = "ray.io/v1"
SERVICE: Final = "RayService"
PART_OF: Final = "app.kubernetes.io/part-of=sightline"
_RECORD: Final = "sightline-releases"
_NOW, _BEFORE = "now.yaml", "before.yaml"
_WATCH_S: Final = 20.0
Say = Callable[[str], None]


class FailedError(InvalidRequestError):
    """What was applied will not come up as it is; the words are the operator's or Serve's."""

    code = "failed"


def apply(server: ApiServer, manifests: Sequence[Manifest], *, say: Say, force: bool = False) -> None:
    """Apply them in order, all rehearsed first, and remember them and those before; errors as `ApiServer.apply`."""
    for manifest in manifests:
        server.apply(manifest, force=force, is_rehearsal=True)
    _remember(server, manifests)
    for count, manifest in enumerate(manifests, start=1):
        server.apply(manifest, force=force)
        say(f"[{count}/{len(manifests)}] {title(manifest)}")


def roll_back(server: ApiServer, name: str, *, say: Say, force: bool = False) -> None:
    """Apply what was applied before, and end an upgrade that hangs: NotFoundError when nothing was applied before."""
    record = server.get("v1", "ConfigMap", _RECORD)
    before = section(record, "data").get(_BEFORE)
    if before is None:
        raise NotFoundError("nothing was applied before what is there now")
    apply(server, read_manifests(before, name=_BEFORE), say=say, force=force)
    end_pending(server, name, say=say)


def end_pending(server: ApiServer, name: str, *, say: Say) -> None:
    """Let go of an upgrade's new cluster: an old spec that is applied again does not, and GPUs stay asked for."""
    service = _service(server, name)
    pending = section(service, "status", "pendingServiceStatus").get("rayClusterName")
    if not pending or not section(service, "status", "activeServiceStatus").get("rayClusterName"):
        return
    server.patch_status(RAY, SERVICE, name, [{"op": "remove", "path": "/status/pendingServiceStatus"}])
    say(f"the pending cluster {pending} is let go of")


def wait(
    server: ApiServer, name: str, *, timeout_s: float, say: Say, clock: Callable[[], float] = time.monotonic
) -> None:
    """Return when what was applied last serves, all of it.

    FailedError when it never will, DeadlineError when it has not after `timeout_s`, NotFoundError when it is deleted.
    """
    until_s, told = clock() + timeout_s, ""
    while True:
        service = _service(server, name)
        version = service["metadata"]["resourceVersion"]
        try:
            while True:
                found = rollout_of(service)
                words = _words(found)
                if words != told:
                    say(words)
                    told = words
                if found.is_done:
                    return
                if found.failure:
                    raise FailedError(found.failure)
                left_s = until_s - clock()
                if left_s <= 0:
                    raise DeadlineError(f"not within {timeout_s:g} s: {words}")
                for kind, changed in server.watch(RAY, SERVICE, name, since=version, timeout_s=min(left_s, _WATCH_S)):
                    if kind == "DELETED":
                        raise NotFoundError(f"{SERVICE} {name} was deleted")
                    service, version = changed, changed["metadata"]["resourceVersion"]
                    break
        except (GoneError, UnavailableError):
            continue


def status(server: ApiServer, name: str) -> tuple[list[str], bool]:
    """Return what there is to tell, a line each, and whether the rollout is done."""
    service = _service(server, name)
    return lines_of(service), rollout_of(service).is_done


def logs(server: ApiServer, *, lines: int) -> list[str]:
    """Return the last lines of each of the service's containers, each line behind its pod's name."""
    found = []
    for pod in server.find("v1", "Pod", labels=PART_OF).get("items", []):
        name = pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]["name"]
        try:
            text = server.log(name, container=container, lines=lines)
        except InvalidRequestError as error:  # a container that has not started has no log
            text = f"({error.detail})"
        found += [f"{name}  {line}" for line in text.splitlines()]
    return found


def _remember(server: ApiServer, manifests: Sequence[Manifest]) -> None:
    now = yaml.safe_dump_all(list(manifests), sort_keys=False)
    record = section(server.get("v1", "ConfigMap", _RECORD), "data")
    if record.get(_NOW) == now:
        return
    data = {_NOW: now} | ({_BEFORE: record[_NOW]} if _NOW in record else {})
    server.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _RECORD}, "data": data},
        force=True,
    )


def _service(server: ApiServer, name: str) -> Manifest:
    found = server.get(RAY, SERVICE, name)
    if found is None:
        raise NotFoundError(f"there is no {SERVICE} {name} in namespace {server.namespace}")
    return found


def _words(found: Rollout) -> str:
    return "done" if found.is_done else found.failure or f"waits for {'; '.join(found.waits_for)}"
