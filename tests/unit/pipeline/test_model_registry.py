"""One story after another of what a registry of models does; any order of them is in test_registry_any_order."""

import pytest

from app.core.errors import ConflictError, InvalidParameterError, NotFoundError
from app.pipeline.model_records import Directive, Held
from app.policy.lifecycle import Phase
from tests.unit.pipeline.registry_world import MODEL, World, world

BOTH = ("1.0.0", "2.0.0")


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


def test_what_the_answers_of_a_replica_lack_is_told_as_long_as_it_says_so() -> None:
    made = World()
    words = "onnxruntime_cpu: the GPU's context is lost"
    for said, told in ((words, {"r0": words}), (None, {})):
        made.held["r0"] = {(MODEL, "1.0.0"): Held(phase=Phase.WARM, degraded=said)}
        made.held["r1"] = {(MODEL, "1.0.0"): Held(phase=Phase.WARM)}
        made.report("r0")
        made.report("r1")
        assert made.status.versions[0].degraded == told


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


def test_every_version_of_a_table_must_be_ready_on_every_replica() -> None:
    made = world(replicas=2, versions=BOTH)
    assert "there is no version 9.0.0" in made.refusal({"1.0.0": 0.9, "9.0.0": 0.1})
    made.put("3.0.0")
    assert "3.0.0 is LOADING" in made.refusal({"1.0.0": 1.0}, shadow="3.0.0")
    user = {"first": 0, "last": 9, "version": "3.0.0"}
    assert "3.0.0 is LOADING" in made.refusal({"1.0.0": 1.0}, users=[user])
    made.report("new")
    assert "2.0.0 is not ready on 1 of 3 replicas" in made.refusal({"2.0.0": 1.0})
    made.obey("new")
    made.route({"2.0.0": 1.0})
    assert made.status.route_epoch == 2
    made.clock.now_s += 60.0
    assert "no replica is there" in made.refusal({"2.0.0": 1.0})


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


def test_who_routes_before_the_first_version_is_there_is_not_overruled_by_it() -> None:
    made = World()
    made.registry.seed(MODEL, "1.0.0")
    made.put("2.0.0")
    made.held["r0"] = {(MODEL, "2.0.0"): Held(phase=Phase.WARM), (MODEL, "1.0.0"): Held(phase=Phase.LOADING)}
    made.report("r0")
    made.route({"2.0.0": 1.0})
    made.held["r0"][MODEL, "1.0.0"] = Held(phase=Phase.WARM)
    made.report("r0")
    assert (made.status.route_epoch, made.phase("2.0.0"), made.phase("1.0.0")) == (1, Phase.PRIMARY, Phase.WARM)
