"""Candidates in the registry of models: judged, rolled back with a reason, or left alone."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ConflictError
from app.pipeline.model_records import Held
from app.pipeline.model_registry import ModelRegistry
from app.policy.canary import CanaryParameters, Traffic
from app.policy.lifecycle import Phase
from tests.unit.pipeline.registry_world import MODEL, World, world

BOTH = ("1.0.0", "2.0.0")


def test_a_canary_that_a_new_replica_cannot_load_is_rolled_back_and_drains_before_it_has_failed() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.9, "2.0.0": 0.1})
    made.fly("r0", "2.0.0", 3)
    made.report("r0")
    made.obey("new", becomes=Phase.FAILED)
    status = made.status
    assert (status.route_epoch, status.versions[0].weight) == (3, 1.0)
    assert status.versions[1].phase is Phase.DRAINING
    assert "rolled back, as a replica cannot load it" in str(status.versions[1].reason)
    assert "rollback" in made.kinds()
    made.pass_time(40, "r0")
    assert made.phase("2.0.0") is Phase.DRAINING
    made.fly("r0", "2.0.0", 0)
    made.pass_time(2, "r0")
    assert made.phase("2.0.0") is Phase.FAILED


def test_a_primary_that_a_new_replica_cannot_load_goes_on_and_says_so() -> None:
    made = world()
    made.held["new"] = {(MODEL, "1.0.0"): Held(phase=Phase.FAILED, error="no memory")}
    made.report("new")
    (status,) = made.status.versions
    assert (status.phase, status.reason) == (Phase.PRIMARY, "a replica cannot load it: no memory")
    made.held["new"] = {(MODEL, "1.0.0"): Held(phase=Phase.WARM)}
    made.report("new")
    assert made.status.versions[0].reason is None
    assert made.kinds()[-2:] == ["failing", "well"]


def windows(made: World, count: int, **seen: Any) -> None:
    for _ in range(count):
        made.observe("1.0.0", Traffic(answered=100))
        made.observe("2.0.0", **{"traffic": Traffic(answered=100), **seen})
        made.pass_time(5, "r0")


@pytest.mark.parametrize(
    ("seen", "count", "why"),
    [
        ({"traffic": Traffic(answered=90, errors=10)}, 1, "10.0% of its 100 frames"),
        ({"traffic": Traffic(answered=100, slow=50)}, 36, "longer than 0.18 s"),
        ({"agreement": 0.9, "compared": 30}, 1, "mAP is 0.100 apart"),
    ],
)
def test_a_worse_candidate_is_rolled_back_under_a_new_epoch_with_the_reason(
    seen: dict[str, Any], count: int, why: str
) -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    windows(made, count - 1, **seen)
    assert made.status.route_epoch == 2
    windows(made, 1, **seen)
    status = made.status
    assert status.routes is not None
    assert (status.route_epoch, status.routes.weights) == (3, (("1.0.0", 100),))
    assert status.versions[1].phase is Phase.DRAINING
    rollback = next(event for event in status.events if event.kind == "rollback")
    assert why in rollback.words
    assert why in str(status.versions[1].reason)
    assert rollback.route_epoch == 3
    assert rollback.at_s >= 1e9


def test_a_shadow_that_disagrees_is_taken_away_and_the_weights_stay() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 1.0}, shadow="2.0.0")
    windows(made, 1, traffic=Traffic(), agreement=0.5, compared=50)
    assert made.status.routes is not None
    assert (made.status.route_epoch, made.status.routes.shadow) == (3, None)
    assert made.status.routes.weights == (("1.0.0", 100),)


def test_a_good_candidate_stays_for_as_long_as_it_is_good() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    windows(made, 60, agreement=0.99, compared=30)
    assert made.status.route_epoch == 2


def test_what_was_seen_of_a_candidate_is_shown_until_its_table_goes() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    windows(made, 1, traffic=Traffic(answered=99, errors=1), agreement=0.98, compared=30)
    windows(made, 1, traffic=Traffic(answered=100, slow=1), agreement=1.0, compared=10)
    primary, candidate = made.status.versions
    assert primary.candidate is None
    assert candidate.candidate is not None
    assert candidate.candidate.traffic == Traffic(answered=199, errors=1, slow=1)
    assert candidate.candidate.agreement == pytest.approx(0.985)
    assert (candidate.candidate.compared, candidate.candidate.words) == (40, "no fault was seen for 10 s")
    made.route({"1.0.0": 0.6, "2.0.0": 0.4})
    assert made.status.versions[1].candidate is None


def test_a_warm_version_that_a_new_replica_cannot_load_drains_before_it_has_failed() -> None:
    made = world(versions=BOTH)
    made.obey("new", becomes=Phase.FAILED)
    assert made.phase("2.0.0") is Phase.DRAINING
    assert "2.0.0 is DRAINING" in made.refusal({"1.0.0": 0.9, "2.0.0": 0.1})
    with pytest.raises(ConflictError, match="being unloaded"):
        made.put("2.0.0")
    made.pass_time(32, "r0")
    assert made.phase("2.0.0") is Phase.FAILED
    assert made.status.versions[1].reason == "a replica cannot load it: the file is broken"


def test_statistics_of_another_table_or_version_are_passed_over() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    bad = Traffic(answered=0, errors=1000)
    for epoch, version in ((1, "2.0.0"), (3, "2.0.0"), (2, "9.0.0")):
        made.registry.observe(MODEL, version, bad, epoch=epoch)
    made.registry.observe("other", "2.0.0", bad, epoch=2)
    made.pass_time(6, "r0")
    made.observe("2.0.0", bad)
    made.route({"1.0.0": 0.6, "2.0.0": 0.4})  # a new table begins with nothing
    made.pass_time(6, "r0")
    assert made.status.route_epoch == 3


def test_too_few_frames_of_one_table_are_not_added_to_those_of_the_next() -> None:
    made = world(versions=BOTH)
    for share in (0.5, 0.4, 0.3):
        made.route({"1.0.0": 1 - share, "2.0.0": share})
        made.observe("2.0.0", Traffic(errors=40))
        made.pass_time(6, "r0")
    assert made.status.route_epoch == 4


def test_a_rollback_of_one_candidate_begins_anew_with_the_other() -> None:
    made = world(versions=("1.0.0", "2.0.0", "3.0.0"))
    made.route({"1.0.0": 0.5, "2.0.0": 0.3, "3.0.0": 0.2})
    made.observe("3.0.0", Traffic(errors=1000))
    made.held["new"] = dict(made.held["r0"]) | {(MODEL, "2.0.0"): Held(phase=Phase.FAILED)}
    made.report("new")
    made.pass_time(6, "r0")
    assert made.status.route_epoch == 3
    assert made.status.routes is not None
    assert made.status.routes.weights == (("1.0.0", 80), ("3.0.0", 20))


def test_a_candidate_that_is_fit_is_told_once_and_promoted_by_nobody() -> None:
    made = world(versions=BOTH)
    canary = CanaryParameters(min_frames=50, promote_after_s=20.0)
    made.registry = ModelRegistry(replace(made.parameters, canary=canary), clock=made.clock)
    made.registry.seed(MODEL, "1.0.0")
    made.put("2.0.0")
    made.obey("r0")
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    windows(made, 10)
    assert made.kinds().count("fit") == 1
    assert made.status.route_epoch == 2
