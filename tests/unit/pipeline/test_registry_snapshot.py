import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import SnapshotError
from app.pipeline.model_records import ModelStatus
from app.pipeline.model_registry import ModelRegistry
from app.policy.lifecycle import Phase
from tests.fakes import ManualClock
from tests.unit.pipeline.registry_world import MODEL, PARAMETERS, World, world


def busy() -> World:
    """A world with something of everything."""
    made = world(replicas=2, versions=("1.0.0", "2.0.0", "3.0.0"))
    made.route({"1.0.0": 0.7, "2.0.0": 0.3}, shadow="3.0.0")
    made.route({"1.0.0": 1.0}, shadow="3.0.0")
    made.registry.seed("plates", "0.1.0", uri="plates/0.1.0")
    made.clock.now_s += 5.0
    return made


def unjudged(made: World) -> list[ModelStatus]:
    """Every model without what was seen of candidates, which no snapshot holds."""
    return [
        replace(status, versions=tuple(replace(one, candidate=None) for one in status.versions))
        for status in made.registry.describe()
    ]


def phase(made: World, version: str) -> Phase:
    street = made.registry.describe()[0]
    return next(one.phase for one in street.versions if one.version == version)


def test_a_registry_goes_on_where_another_stopped() -> None:
    made = busy()
    before, view = unjudged(made), made.registry.view()
    made.restart()
    assert unjudged(made) == before
    assert made.registry.view() == view
    assert made.registry.view(made.registry.revision) is None


def test_a_grace_goes_on_under_another_clock() -> None:
    made = busy()
    made.restart()
    for _ in range(24):
        made.clock.now_s += 1.0
        made.obey("r0")
        made.obey("r1")
    assert phase(made, "2.0.0") is Phase.DRAINING
    made.clock.now_s += 2.0
    made.obey("r0")
    made.obey("r1")
    assert phase(made, "2.0.0") is Phase.UNLOADED


def test_replicas_have_ten_seconds_to_speak_up_after_a_restart() -> None:
    made = busy()
    made.restart()
    made.clock.now_s += 9.0
    made.report("r0")
    assert sorted(made.registry.describe()[0].versions[0].replicas) == ["r0", "r1"]
    made.clock.now_s += 2.0
    assert sorted(made.registry.describe()[0].versions[0].replicas) == ["r0"]


def test_a_first_version_that_was_waited_for_still_is() -> None:
    made = busy()
    made.restart()
    made.obey("r0")
    assert made.registry.describe()[1].route_epoch == 1


def fresh() -> ModelRegistry:
    return ModelRegistry(PARAMETERS, clock=ManualClock())


@pytest.mark.parametrize("snapshot", [None, [], {}, {"format": 0}, {"format": 1}, "{}", {"format": 1, "versions": 7}])
def test_what_is_no_snapshot_is_a_typed_error_and_changes_nothing(snapshot: object) -> None:
    registry = fresh()
    registry.seed(MODEL, "1.0.0")
    before = registry.describe()
    with pytest.raises(SnapshotError):
        registry.restore(snapshot)
    assert registry.describe() == before


def test_a_snapshot_that_routes_what_it_does_not_know_is_refused() -> None:
    snapshot = busy().registry.snapshot()
    snapshot["versions"] = [one for one in snapshot["versions"] if one["version"] != "1.0.0"]
    with pytest.raises(SnapshotError, match="routes what it does not know"):
        fresh().restore(snapshot)


KEPT: dict[str, Any] = json.loads(json.dumps(busy().registry.snapshot()))
values = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.just({"a": 1})


@given(key=st.sampled_from(sorted(KEPT)), value=values)
def test_damage_in_any_part_is_a_typed_error_or_harmless(key: str, value: object) -> None:
    registry = fresh()
    try:
        registry.restore({**copy.deepcopy(KEPT), key: value})
    except SnapshotError:
        assert registry.view() == fresh().view()
    for status in registry.describe():
        assert status.routes is None or set(status.routes.versions) <= {one.version for one in status.versions}
