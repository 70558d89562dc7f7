"""A rollout is done only when what was applied last serves, all of it."""

import copy
from typing import Any

import pytest

from kuberay.rollout import lines_of, rollout_of

SERVING: dict[str, Any] = {
    "metadata": {"generation": 3},
    "status": {
        "observedGeneration": 3,
        "numServeEndpoints": 2,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints"},
            {"type": "UpgradeInProgress", "status": "False", "reason": "NoPendingCluster"},
        ],
        "activeServiceStatus": {
            "rayClusterName": "sightline-abcde",
            "applicationStatuses": {
                "sightline": {"status": "RUNNING", "serveDeploymentStatuses": {"Detector": {"status": "HEALTHY"}}}
            },
        },
    },
}


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    service = copy.deepcopy(SERVING)
    place: Any = service
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return service


def test_all_of_it_serves() -> None:
    assert rollout_of(SERVING).is_done
    assert lines_of(SERVING)[-1] == "rollout      done"
    assert "  Detector: HEALTHY" in lines_of(SERVING)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("metadata", "generation"), 4, "generation 4"),
        (("status", "conditions", 0, "status"), "False", "endpoints (NonZeroServeEndpoints)"),
        (("status", "conditions", 1, "status"), "True", "the upgrade"),
        (("status", "pendingServiceStatus"), {"rayClusterName": "x"}, "the upgrade"),
        (("status", "activeServiceStatus", "rayClusterName"), "", "become active"),
        (("status", "activeServiceStatus", "applicationStatuses"), {}, "applications"),
        (
            ("status", "activeServiceStatus", "applicationStatuses", "sightline", "status"),
            "DEPLOYING",
            "sightline, now DEPLOYING",
        ),
    ],
)
def test_what_it_waits_for(path: tuple[str | int, ...], value: object, words: str) -> None:
    found = rollout_of(changed(path, value))
    assert not found.is_done
    assert not found.failure
    assert words in "; ".join(found.waits_for)


def test_ready_is_true_of_a_failed_application() -> None:
    place = ("status", "activeServiceStatus", "applicationStatuses", "sightline")
    found = rollout_of(changed(place, {"status": "DEPLOY_FAILED", "message": "no module"}))
    assert found.failure == "application sightline is DEPLOY_FAILED: no module"


def test_an_old_failure_is_not_that_of_a_spec_that_nobody_has_seen_yet() -> None:
    service = changed(("metadata", "generation"), 4)
    service["status"]["conditions"][0] = {"type": "Ready", "status": "False", "reason": "ValidationFailed"}
    assert not rollout_of(service).failure


@pytest.mark.parametrize("service", [{}, {"status": None}, {"status": {"conditions": "odd"}}, {"metadata": {}}])
def test_a_service_of_which_nothing_is_told_waits(service: dict[str, Any]) -> None:
    assert rollout_of(service).waits_for
    assert lines_of(service)
