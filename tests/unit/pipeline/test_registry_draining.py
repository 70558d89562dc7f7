"""How versions go from the registry of models, who is told of what, and for how long it is remembered."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ConflictError
from app.pipeline.model_records import Directive, Held, RegistryParameters
from app.pipeline.model_registry import ModelRegistry
from app.policy.lifecycle import Phase
from tests.fakes import ManualClock
from tests.unit.pipeline.registry_world import MODEL, world

BOTH = ("1.0.0", "2.0.0")


def test_what_is_in_no_table_drains_for_its_grace_and_until_its_last_frame_is_out() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    made.fly("r0", "1.0.0", 1)
    assert made.phase("1.0.0") is Phase.DRAINING
    made.pass_time(60, "r0")
    assert made.phase("1.0.0") is Phase.DRAINING
    assert made.registry.directive("r0").unload == ()
    made.fly("r0", "1.0.0", 0)
    made.report("r0")
    assert made.registry.directive("r0").unload == ((MODEL, "1.0.0"),)
    assert "1.0.0 is DRAINING" in made.refusal({"1.0.0": 1.0})
    made.obey("r0")
    assert made.phase("1.0.0") is Phase.UNLOADED
    assert (MODEL, "1.0.0") not in made.held["r0"]


def test_a_grace_is_kept_although_no_frame_is_in_flight() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    made.pass_time(29, "r0")
    assert made.phase("1.0.0") is Phase.DRAINING
    assert made.registry.directive("r0") == Directive()
    made.pass_time(2, "r0")
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
    made.pass_time(20, "r0")
    made.route({"1.0.0": 1.0})
    assert (made.phase("1.0.0"), made.phase("2.0.0"), made.status.route_epoch) == (Phase.PRIMARY, Phase.DRAINING, 3)


def test_a_draining_version_can_be_kept_warm_and_a_warm_one_let_go() -> None:
    made = world(versions=BOTH)
    made.route({"2.0.0": 1.0})
    made.route({"1.0.0": 1.0})
    assert made.phase("2.0.0") is Phase.DRAINING
    made.put("2.0.0")
    assert made.phase("2.0.0") is Phase.WARM
    made.pass_time(60, "r0")
    assert made.phase("2.0.0") is Phase.WARM
    made.put("2.0.0", is_warm=False)
    assert made.phase("2.0.0") is Phase.DRAINING
    made.pass_time(32, "r0")
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
    made.pass_time(29, "r0")
    made.fly("r0", "2.0.0", 0)
    made.clock.now_s += 2.0
    made.report("r0")
    with pytest.raises(ConflictError, match="being unloaded"):
        made.put("2.0.0")
    made.obey("r0")
    made.put("2.0.0")
    assert made.phase("2.0.0") is Phase.LOADING
    assert made.registry.directive("r0").load[0].attempt == 2
    made.obey("r0")
    made.route({"2.0.0": 1.0})
    assert made.phase("2.0.0") is Phase.PRIMARY


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


def test_what_a_replica_holds_and_nobody_knows_drains_like_any_other() -> None:
    made = world()
    made.held["r0"][MODEL, "7.0.0"] = Held(phase=Phase.WARM, in_flight=1)
    made.report("r0")
    assert made.phase("7.0.0") is Phase.DRAINING
    assert made.registry.directive("r0") == Directive()
    made.fly("r0", "7.0.0", 0)
    made.pass_time(35, "r0")
    assert made.phase("7.0.0") is Phase.UNLOADED


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
    made.route({"1.0.0": 0.6, "2.0.0": 0.4})
    between = made.registry.revision
    made.route({"1.0.0": 0.7, "2.0.0": 0.3})  # no version changes its phase
    assert made.registry.view(between) is not None


def test_what_is_loaded_anew_is_described_anew() -> None:
    made = world(replicas=2)
    made.put("2.0.0")
    made.held["r0"][MODEL, "2.0.0"] = Held(phase=Phase.WARM, card={"labels": ["old"]})
    made.report("r0")
    made.obey("r1", becomes=Phase.FAILED)
    made.obey("r0")
    made.put("2.0.0", sha256="b" * 64)
    made.held["r0"][MODEL, "2.0.0"] = Held(phase=Phase.WARM, card={"labels": ["new"]}, attempt=2)
    made.report("r0")
    view = made.registry.view()
    assert view is not None
    assert view["models"][MODEL]["versions"]["2.0.0"]["card"] == {"labels": ["new"]}


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
