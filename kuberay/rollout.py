"""How far a RayService is, read off its status: Ready alone may be true of an older spec, or of a failed application.

Source: KubeRay 1.7.0, where Ready tells of endpoints, not of applications, and stays true after a bad update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kuberay.manifest import Manifest, entries, section

_FINAL = {"ValidationFailed", "InitializingTimeout"}
_LOST = {"DEPLOY_FAILED", "UNHEALTHY"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """`waits_for` is empty when it is done; `failure`, when waiting longer is of no use, says why."""

    waits_for: tuple[str, ...] = ()
    failure: str = ""

    @property
    def is_done(self) -> bool:
        """Whether what was applied last is what serves, all of it."""
        return not self.waits_for and not self.failure


def rollout_of(service: Manifest) -> Rollout:
    """Return how far a RayService is."""
    status = section(service, "status")
    conditions = {str(one.get("type")): one for one in entries(status.get("conditions"))}
    ready, upgrade = conditions.get("Ready", {}), conditions.get("UpgradeInProgress", {})
    generation = section(service, "metadata").get("generation", 0)
    is_current = status.get("observedGeneration", 0) >= generation
    if is_current and ready.get("status") != "True" and ready.get("reason") in _FINAL:
        return Rollout(failure=f"{ready['reason']}: {ready.get('message', '')}".rstrip(": "))
    active = section(status, "activeServiceStatus")
    applications = _applications(active)
    waits = []
    if not is_current:
        waits.append(f"the operator to see generation {generation}")
    if not active.get("rayClusterName"):
        waits.append("a cluster to become active")
    if ready.get("status") != "True":
        waits.append(f"endpoints ({ready.get('reason') or 'not told yet'})")
    if upgrade.get("status") == "True" or section(status, "pendingServiceStatus").get("rayClusterName"):
        waits.append("the upgrade to end")
    if not applications:
        waits.append("applications")
    for name, application in applications.items():
        state = application.get("status", "")
        if state in _LOST and is_current and len(waits) == 0:
            return Rollout(failure=f"application {name} is {state}: {application.get('message', '')}".rstrip(": "))
        if state != "RUNNING":
            waits.append(f"application {name}, now {state or 'not told'}")
    return Rollout(waits_for=tuple(waits))


def lines_of(service: Manifest) -> list[str]:
    """Return what there is to tell of a RayService, a line each."""
    status = section(service, "status")
    found = rollout_of(service)
    lines = [
        f"cluster      {section(status, 'activeServiceStatus').get('rayClusterName') or '-'}",
        f"endpoints    {status.get('numServeEndpoints', 0)}",
    ]
    pending = section(status, "pendingServiceStatus").get("rayClusterName")
    if pending:
        lines.append(f"upgrading to {pending}")
    lines += [
        f"{condition.get('type')} = {condition.get('status')} ({condition.get('reason', '')})"
        for condition in entries(status.get("conditions"))
    ]
    for name, application in _applications(section(status, "activeServiceStatus")).items():
        lines.append(f"application {name}: {application.get('status')} {application.get('message', '')}".rstrip())
        for part, told in section(application, "serveDeploymentStatuses").items():
            lines.append(f"  {part}: {section(told).get('status')} {section(told).get('message', '')}".rstrip())
    end = "done" if found.is_done else found.failure or f"waits for {'; '.join(found.waits_for)}"
    return [*lines, f"rollout      {end}"]


def _applications(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: section(told) for name, told in section(status, "applicationStatuses").items()}
