"""One story after another of what a registry of models does; any order of them is in test_registry_any_order."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ConflictError, InvalidParameterError, NotFoundError
from app.pipeline.model_records import Directive, Held, RegistryParameters
from app.pipeline.model_registry import ModelRegistry
from app.policy.canary import CanaryParameters, Traffic
from app.policy.lifecycle import Phase
from tests.fakes import ManualClock
from tests.unit.pipeline.registry_world import MODEL, World, world

BOTH = ("1.0.0", "2.0.0")


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.status.events]


def pass_time(world: World, seconds: float, *replicas: str) -> None:
    """Time passes while these replicas do what they are told, every second."""
    for _ in range(int(seconds)):
        world.clock.now_s += 1.0
        for replica in replicas:
            world.obey(replica)


def test_the_first_version_answers_everything_as_soon_as_one_replica_has_it() -> None:
    made = World()
    made.registry.seed(MODEL, "1.0.0")
    assert (made.status.route_epoch, made.status.routes, made.phase("1.0.0")) == (0, None, Phase.LOADING)
    made.obey("slow", becomes=Phase.LOADING)
    assert made.status.routes is None
    made.obey("quick")
    assert (made.status.route_epoch, made.phase("1.0.0")) == (1, Phase.PRIMARY)
    assert made.status.versions[0].weight == 1.0
    made.registry.seed(MODEL, "0.9.0")
    assert [one.version for one in made.status.versions] == ["1.0.0"]


def test_a_first_version_that_fails_is_tried_again_by_whoever_comes() -> None:
    made = World()
    made.registry.seed(MODEL, "1.0.0")
    made.obey("broken", becomes=Phase.FAILED)
    assert made.phase("1.0.0") is Phase.LOADING
    assert made.status.versions[0].reason == "a replica cannot load it: the file is broken"
    made.obey("whole")
    assert made.phase("1.0.0") is Phase.PRIMARY


def test_a_first_version_that_replicas_held_before_it_was_asked_for_is_taken() -> None:
    made = World()
    made.held["r0"] = {(MODEL, "1.0.0"): Held(phase=Phase.WARM)}
    made.report("r0")
    assert made.phase("1.0.0") is Phase.DRAINING
    made.registry.seed(MODEL, "1.0.0")
    assert made.phase("1.0.0") is Phase.PRIMARY


def test_a_version_is_loaded_by_all_before_it_is_warm_and_the_same_again_changes_nothing() -> None:
    made = world(replicas=2)
    made.put("2.0.0")
    revision = made.registry.revision
    made.put("2.0.0")
    assert made.registry.revision == revision
    assert [load.version for load in made.registry.directive("r0").load] == ["2.0.0"]
    made.obey("r0")
    assert made.phase("2.0.0") is Phase.LOADING
    made.obey("r1")
    assert made.phase("2.0.0") is Phase.WARM
    assert made.registry.directive("r0") == Directive()
    assert made.status.route_epoch == 1


@pytest.mark.parametrize("sha256", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_what_is_no_sha256_is_refused(sha256: str) -> None:
    with pytest.raises(InvalidParameterError, match="sha256"):
        world().registry.put_version(MODEL, "2.0.0", sha256=sha256)


@pytest.mark.parametrize("uri", ["../x", "a/../b", "a b", "x" * 600, "a\x00"])
def test_a_uri_that_leaves_the_store_is_refused(uri: str) -> None:
    with pytest.raises(InvalidParameterError, match="uri"):
        world().registry.put_version(MODEL, "2.0.0", sha256="a" * 64, uri=uri)


@pytest.mark.parametrize(("model", "version"), [("../x", "1.0.0"), ("Street", "1.0.0"), ("street", "../1")])
def test_a_name_that_is_none_is_refused(model: str, version: str) -> None:
    with pytest.raises(InvalidParameterError):
        world().registry.put_version(model, version, sha256="a" * 64)


def test_other_content_under_a_number_is_refused_unless_it_failed() -> None:
    made = world()
    made.put("2.0.0")
    with pytest.raises(ConflictError, match="never changes"):
        made.put("2.0.0", sha256="b" * 64)
    made.obey("r0", becomes=Phase.FAILED)
    assert made.phase("2.0.0") is Phase.FAILED
    made.put("2.0.0", sha256="b" * 64)
    assert made.phase("2.0.0") is Phase.LOADING
    assert made.status.versions[1].sha256 == "b" * 64


def test_a_version_that_fails_says_why_is_unloaded_elsewhere_and_can_be_tried_again() -> None:
    made = world(replicas=2)
    made.put("2.0.0")
    made.obey("r0")
    made.obey("r1", becomes=Phase.FAILED)
    failed = made.status.versions[1]
    assert (failed.phase, failed.reason) == (Phase.FAILED, "a replica cannot load it: the file is broken")
    assert made.registry.directive("r0").unload == ((MODEL, "2.0.0"),)
    assert made.registry.directive("r1") == Directive()
    made.put("2.0.0")
    assert made.phase("2.0.0") is Phase.LOADING
    made.report("r1")  # what it says of the first attempt is old
    assert made.phase("2.0.0") is Phase.LOADING
    made.obey("r0")
    assert made.phase("2.0.0") is Phase.LOADING
    made.obey("r1")
    assert made.phase("2.0.0") is Phase.WARM
    assert made.status.route_epoch == 1


def test_weights_make_the_heaviest_primary_and_the_others_canaries() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.7, "2.0.0": 0.3})
    assert (made.phase("1.0.0"), made.phase("2.0.0")) == (Phase.PRIMARY, Phase.CANARY)
    made.route({"1.0.0": 0.3, "2.0.0": 0.7})
    assert (made.phase("1.0.0"), made.phase("2.0.0")) == (Phase.CANARY, Phase.PRIMARY)
    made.route({"2.0.0": 1.0}, shadow="1.0.0")
    assert (made.phase("1.0.0"), made.phase("2.0.0")) == (Phase.CANARY, Phase.PRIMARY)
    assert made.status.route_epoch == 4


def test_a_lost_race_is_a_conflict_that_names_the_epoch_and_changes_nothing() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.7, "2.0.0": 0.3})
    before = made.registry.describe()
    for epoch in (0, 1, 3, 10**9):
        with pytest.raises(ConflictError, match=f"is 2, not {epoch}"):
            made.registry.put_routes(MODEL, {"weights": {"1.0.0": 1.0}}, if_match=epoch)
    assert made.registry.describe() == before


def refusal(made: World, weights: dict[str, float], **more: Any) -> str:
    before = made.registry.describe()
    with pytest.raises(ConflictError) as refused:
        made.registry.put_routes(MODEL, {"weights": weights, **more}, if_match=made.status.route_epoch)
    assert made.registry.describe() == before
    return refused.value.detail


def test_every_version_of_a_table_must_be_ready_on_every_replica() -> None:
    made = world(replicas=2, versions=BOTH)
    assert "there is no version 9.0.0" in refusal(made, {"1.0.0": 0.9, "9.0.0": 0.1})
    made.put("3.0.0")
    assert "3.0.0 is LOADING" in refusal(made, {"1.0.0": 1.0}, shadow="3.0.0")
    user = {"first": 0, "last": 9, "version": "3.0.0"}
    assert "3.0.0 is LOADING" in refusal(made, {"1.0.0": 1.0}, users=[user])
    made.report("new")
    assert "2.0.0 is not ready on 1 of 3 replicas" in refusal(made, {"2.0.0": 1.0})
    made.obey("new")
    made.route({"2.0.0": 1.0})
    assert made.status.route_epoch == 2
    made.clock.now_s += 60.0
    assert "no replica is there" in refusal(made, {"2.0.0": 1.0})


def test_a_table_for_nothing_is_not_found_and_a_malformed_one_is_told_before_the_race() -> None:
    registry = world().registry
    with pytest.raises(NotFoundError):
        registry.put_routes("other", {"weights": {"1.0.0": 1.0}}, if_match=0)
    with pytest.raises(InvalidParameterError, match=r"sum to 0\.50"):
        registry.put_routes(MODEL, {"weights": {"1.0.0": 0.5}}, if_match=99)


def test_another_model_gets_its_first_table_from_epoch_zero() -> None:
    made = world()
    made.registry.put_version("plates", "0.1.0", sha256="c" * 64)
    made.obey("r0")
    made.registry.put_routes("plates", {"weights": {"0.1.0": 1.0}}, if_match=0)
    street, plates = made.registry.describe()
    assert (street.model, plates.model, plates.route_epoch) == ("street", "plates", 1)


def test_what_is_in_no_table_drains_for_its_grace_and_until_its_last_frame_is_out() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    made.fly("r0", "1.0.0", 1)
    assert made.phase("1.0.0") is Phase.DRAINING
    pass_time(made, 60, "r0")
    assert made.phase("1.0.0") is Phase.DRAINING
    assert made.registry.directive("r0").unload == ()
    made.fly("r0", "1.0.0", 0)
    made.report("r0")
    assert made.registry.directive("r0").unload == ((MODEL, "1.0.0"),)
    assert "1.0.0 is DRAINING" in refusal(made, {"1.0.0": 1.0})
    made.obey("r0")
    assert made.phase("1.0.0") is Phase.UNLOADED
    assert (MODEL, "1.0.0") not in made.held["r0"]


def test_a_grace_is_kept_although_no_frame_is_in_flight() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    pass_time(made, 29, "r0")
    assert made.phase("1.0.0") is Phase.DRAINING
    assert made.registry.directive("r0") == Directive()
    pass_time(made, 2, "r0")
    assert made.phase("1.0.0") is Phase.UNLOADED


def test_a_report_from_before_the_change_says_nothing_of_the_frames_after_it() -> None:
    made = world(versions=BOTH)
    made.registry = ModelRegistry(replace(made.parameters, grace_s=0.0), clock=made.clock)
    made.registry.seed(MODEL, "1.0.0")
    made.put("2.0.0")
    made.obey("r0")
    made.clock.now_s += 1.0
    made.route({"2.0.0": 1.0})
    assert made.registry.directive("r0").unload == ()
    made.report("r0")
    assert made.registry.directive("r0").unload == ((MODEL, "1.0.0"),)


def test_within_its_grace_a_version_can_be_routed_again_at_once() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    pass_time(made, 20, "r0")
    made.route({"1.0.0": 1.0})
    assert (made.phase("1.0.0"), made.phase("2.0.0"), made.status.route_epoch) == (Phase.PRIMARY, Phase.DRAINING, 3)


def test_a_draining_version_can_be_kept_warm_and_a_warm_one_let_go() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    made.route({"1.0.0": 1.0})
    assert made.phase("2.0.0") is Phase.DRAINING
    made.put("2.0.0")
    assert made.phase("2.0.0") is Phase.WARM
    pass_time(made, 60, "r0")
    assert made.phase("2.0.0") is Phase.WARM
    made.put("2.0.0", is_warm=False)
    assert made.phase("2.0.0") is Phase.DRAINING
    pass_time(made, 32, "r0")
    assert made.phase("2.0.0") is Phase.UNLOADED


def test_a_routed_version_is_not_let_go() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    with pytest.raises(ConflictError, match="out of the routes first"):
        made.put("2.0.0", is_warm=False)
    assert made.phase("2.0.0") is Phase.CANARY


def test_a_version_that_is_being_unloaded_is_not_taken_back_halfway() -> None:
    made = world(versions=BOTH)
    made.put("2.0.0", is_warm=False)
    pass_time(made, 29, "r0")
    made.fly("r0", "2.0.0", 0)
    made.clock.now_s += 2.0
    made.report("r0")
    with pytest.raises(ConflictError, match="being unloaded"):
        made.put("2.0.0")
    made.obey("r0")
    made.put("2.0.0")
    assert made.phase("2.0.0") is Phase.LOADING
    assert made.registry.directive("r0").load[0].attempt == 2


def test_a_silent_replica_is_gone_after_ten_seconds_and_no_longer_waited_for() -> None:
    made = world(replicas=2)
    made.put("2.0.0")
    made.obey("r0")
    made.clock.now_s += 10.0
    made.report("r0")
    assert made.phase("2.0.0") is Phase.LOADING
    made.clock.now_s += 0.1
    made.report("r0")
    assert made.phase("2.0.0") is Phase.WARM
    assert list(made.status.versions[1].replicas) == ["r0"]


def test_a_replica_that_comes_later_loads_what_is_routed_first() -> None:
    made = world(versions=("1.0.0", "2.0.0", "3.0.0"))
    made.put("0.5.0")
    made.route({"1.0.0": 0.2, "3.0.0": 0.8})
    assert [load.version for load in made.registry.directive("new").load] == ["3.0.0", "1.0.0", "2.0.0", "0.5.0"]
    assert made.phase("3.0.0") is Phase.PRIMARY


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
    assert "rollback" in kinds(made)
    pass_time(made, 40, "r0")
    assert made.phase("2.0.0") is Phase.DRAINING
    made.fly("r0", "2.0.0", 0)
    pass_time(made, 2, "r0")
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
    assert kinds(made)[-2:] == ["failing", "well"]


def test_what_a_replica_holds_and_nobody_knows_drains_like_any_other() -> None:
    made = world()
    made.held["r0"][MODEL, "7.0.0"] = Held(phase=Phase.WARM, in_flight=1)
    made.report("r0")
    assert made.phase("7.0.0") is Phase.DRAINING
    assert made.registry.directive("r0") == Directive()
    made.fly("r0", "7.0.0", 0)
    pass_time(made, 35, "r0")
    assert made.phase("7.0.0") is Phase.UNLOADED


def windows(made: World, count: int, **seen: Any) -> None:
    for _ in range(count):
        made.observe("1.0.0", Traffic(answered=100))
        made.observe("2.0.0", **{"traffic": Traffic(answered=100), **seen})
        pass_time(made, 5, "r0")


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


def test_statistics_of_another_table_or_version_are_passed_over() -> None:
    made = world(versions=BOTH)
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    bad = Traffic(answered=0, errors=1000)
    for epoch, version in ((1, "2.0.0"), (3, "2.0.0"), (2, "9.0.0")):
        made.registry.observe(MODEL, version, bad, epoch=epoch)
    made.registry.observe("other", "2.0.0", bad, epoch=2)
    pass_time(made, 6, "r0")
    made.observe("2.0.0", bad)
    made.route({"1.0.0": 0.6, "2.0.0": 0.4})  # a new table begins with nothing
    pass_time(made, 6, "r0")
    assert made.status.route_epoch == 3


def test_a_candidate_that_is_fit_is_told_once_and_promoted_by_nobody() -> None:
    made = world(versions=BOTH)
    canary = CanaryParameters(min_frames=50, promote_after_s=20.0)
    made.registry = ModelRegistry(replace(made.parameters, canary=canary), clock=made.clock)
    made.registry.seed(MODEL, "1.0.0")
    made.put("2.0.0")
    made.obey("r0")
    made.route({"1.0.0": 0.5, "2.0.0": 0.5})
    windows(made, 10)
    assert kinds(made).count("fit") == 1
    assert made.status.route_epoch == 2


def test_the_view_comes_once_a_change_and_holds_what_routing_needs() -> None:
    made = world(versions=BOTH)
    card = {"labels": ["car"], "input_width_px": 64}
    made.held["r0"][MODEL, "1.0.0"] = Held(phase=Phase.WARM, card=card)
    made.report("r0")
    view = made.registry.view()
    assert view is not None
    assert made.registry.view(view["revision"]) is None
    made.report("r0")
    assert made.registry.view(view["revision"]) is None
    assert view["default_model"] == MODEL
    street = view["models"][MODEL]
    assert (street["route_epoch"], street["routes"]["weights"]) == (1, {"1.0.0": 1.0})
    assert street["versions"] == {"1.0.0": {"phase": "PRIMARY", "card": card}, "2.0.0": {"phase": "WARM", "card": None}}
    made.route({"2.0.0": 1.0})
    after = made.registry.view(view["revision"])
    assert after is not None
    assert after["revision"] > view["revision"]
    assert after["models"][MODEL]["route_epoch"] == 2


def test_what_is_remembered_is_bounded() -> None:
    clock = ManualClock()
    registry = ModelRegistry(RegistryParameters(max_events=10, max_gone=3), clock=clock)
    for number in range(50):
        clock.now_s += 1.0
        registry.put_version(MODEL, f"1.0.{number}", sha256="a" * 64, is_warm=False)
    (status,) = registry.describe()
    assert [one.version for one in status.versions] == ["1.0.47", "1.0.48", "1.0.49"]
    assert len(status.events) == 10


@pytest.mark.parametrize("wrong", [{"gone_after_s": 0.0}, {"grace_s": -1.0}, {"window_s": 0.0}, {"max_events": 0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="registry of models"):
        RegistryParameters(**wrong)
