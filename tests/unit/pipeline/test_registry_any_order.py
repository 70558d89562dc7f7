"""Whatever is asked of the registry of models, and in whatever order replicas come, lie, fail and die."""

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.core.errors import ConflictError
from app.pipeline.model_records import Directive, Held, ModelStatus, VersionKey
from app.pipeline.model_registry import ModelRegistry
from app.pipeline.registry_state import RegistryState
from app.policy.canary import Traffic
from app.policy.lifecycle import ROUTED, Phase
from app.policy.route_table import RouteTable
from tests.unit.pipeline.registry_world import MODEL, World, sha_of

VERSIONS = ("1.0.0", "1.1.0", "2.0.0", "2.1.0")
REPLICAS = ("a", "b", "c")
QUICK = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Stage.generate],  # add Stage.shrink to see why it failed; that takes a minute or two
)
version_names = st.sampled_from(VERSIONS)
replica_names = st.sampled_from(REPLICAS)


class AnyOrder(RuleBasedStateMachine):
    kind: ClassVar[type[ModelRegistry]] = ModelRegistry
    acts: ClassVar[int] = 0
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.kind)
        self.world.registry.seed(MODEL, VERSIONS[0], sha256=sha_of(VERSIONS[0]))
        self.world.obey(REPLICAS[0])

    @rule(version=version_names, is_warm=st.sampled_from([True, True, True, False]), is_other=st.booleans())
    def put(self, version: str, is_warm: bool, is_other: bool) -> None:  # noqa: FBT001
        try:
            self.world.put(version, is_warm=is_warm, sha256="b" * 64 if is_other else None)
        except ConflictError:
            return

    @rule(replica=replica_names, becomes=st.sampled_from([Phase.WARM, Phase.WARM, Phase.LOADING, Phase.FAILED]))
    def obey(self, replica: str, becomes: Phase) -> None:
        self.world.obey(replica, becomes=becomes)

    @rule()
    def all_obey(self) -> None:
        for replica in list(self.world.live()) or REPLICAS[:2]:
            self.world.obey(replica)

    @rule()
    def all_get_ready(self) -> None:
        for version in VERSIONS:
            self.put(version, is_warm=True, is_other=False)
        self.all_obey()

    @rule(replica=replica_names, version=version_names)
    def one_breaks(self, replica: str, version: str) -> None:
        self.put(version, is_warm=True, is_other=False)
        self.world.obey(replica, becomes=Phase.FAILED)

    @rule(replica=replica_names, version=version_names, frames=st.integers(0, 2))
    def fly(self, replica: str, version: str, frames: int) -> None:
        self.world.fly(replica, version, frames)

    @rule(replica=replica_names)
    def die(self, replica: str) -> None:
        self.world.die(replica)

    @rule(after_s=st.sampled_from([1.0, 4.0, 11.0]))
    def time_passes(self, after_s: float) -> None:
        for replica in list(self.world.held):
            self.world.report(replica)
        self.world.clock.now_s += after_s

    @rule(one=version_names, other=version_names, share=st.integers(0, 100), behind=st.sampled_from([0, 0, 0, 1]))
    def route(self, one: str, other: str, share: int, behind: int) -> None:
        self.world.route({other: 1 - share / 100} | {one: share / 100 if one != other else 1.0}, behind=behind)

    @rule(one=version_names, shadow=version_names)
    def route_with_a_shadow(self, one: str, shadow: str) -> None:
        self.world.route({one: 1.0}, shadow=None if shadow == one else shadow)

    @rule(version=version_names, is_bad=st.booleans())
    def observe(self, version: str, is_bad: bool) -> None:  # noqa: FBT001
        self.world.observe(version, Traffic(answered=60, errors=30 * is_bad), agreement=0.99, compared=20)

    @rule(one=version_names, other=version_names)
    def candidates_are_bad(self, one: str, other: str) -> None:
        self.route(one=one, other=other, share=60, behind=0)
        for version in VERSIONS:
            self.world.observe(version, Traffic(answered=60, errors=0 if version == one else 30))
        self.time_passes(after_s=6.0)

    @rule()
    def a_quiet_minute_passes(self) -> None:
        for _ in range(5):
            self.all_obey()
            self.world.check()
            self.world.clock.now_s += 8.0

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        type(self).acts += self.world.acts
        self.seen.update(event.kind for event in self.world.registry.describe()[0].events)


def over(kind: type[ModelRegistry]) -> type[AnyOrder]:
    """The machine over that kind of registry."""
    return type("Over" + kind.__name__, (AnyOrder,), {"kind": kind, "seen": Counter()})


def test_over_ten_thousand_acts_the_routes_hold_whole_and_ready_versions_only() -> None:
    machine = over(ModelRegistry)
    run_state_machine_as_test(machine, settings=QUICK)
    assert machine.acts >= 10_000
    happened = {"routes", "rollback", "draining", "unloaded", "failed", "failing", *map(str.lower, ROUTED)}
    assert {kind for kind, times in machine.seen.items() if times >= 5} >= happened


class _AllAreReady(RegistryState):
    def unready(self, _model: str, _version: str) -> str | None:
        return None


class ForgetsReadiness(ModelRegistry):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._state = _AllAreReady(self._parameters, clock=named["clock"], calendar=named["calendar"])


class ForgetsTheRace(ModelRegistry):
    def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        del if_match
        return super().put_routes(model, document, if_match=self._state.epoch(model))


class ForgetsTheGrace(ModelRegistry):
    def directive(self, replica: str) -> Directive:
        order = super().directive(replica)
        held = self._state.replicas[replica].held if replica in self._state.replicas else {}
        draining = [
            key for key in held if key in self._state.versions and self._state.versions[key].phase is Phase.DRAINING
        ]
        return Directive(load=order.load, unload=tuple({*order.unload, *draining}))


class ForgetsTheEpoch(ModelRegistry):
    def tick(self) -> None:
        before = dict(self._state.tables)
        super().tick()
        for model, table in self._state.tables.items():
            old = before.get(model, table)
            self._state.tables[model] = RouteTable(epoch=old.epoch, weights=table.weights, shadow=table.shadow)


class ForgetsShadows(ModelRegistry):
    def directive(self, replica: str) -> Directive:
        order = super().directive(replica)
        known = self._state.replicas.get(replica)
        tables = self._state.tables
        idle = [
            (model, version)
            for model, version in (known.held if known else ())
            if model in tables and tables[model].shadow == version
        ]
        return Directive(load=order.load, unload=tuple({*order.unload, *idle}))


class ChangesBeforeItRefuses(ModelRegistry):
    def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        self._state.revision += 1
        return super().put_routes(model, document, if_match=if_match)


class LosesRoutesWithItsReplicas(ModelRegistry):
    def report(self, replica: str, held: "dict[VersionKey, Held]") -> None:
        super().report(replica, held)
        if not held:
            self._state.tables.clear()


@pytest.mark.parametrize(
    "planted",
    [
        ForgetsReadiness,
        ForgetsTheRace,
        ForgetsTheGrace,
        ForgetsTheEpoch,
        ForgetsShadows,
        ChangesBeforeItRefuses,
        LosesRoutesWithItsReplicas,
    ],
)
def test_the_machine_finds_a_planted_fault(planted: type[ModelRegistry]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(over(planted), settings=QUICK)
