"""Replicas that do what a registry of models directs, or do not, and a checker of what must hold whatever they do."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ConflictError, SightlineError
from app.pipeline.model_records import Held, ModelStatus, RegistryParameters, VersionKey
from app.pipeline.model_registry import ModelRegistry
from app.policy.canary import CanaryParameters, Traffic
from app.policy.lifecycle import ROUTED, Phase
from app.policy.route_table import RouteTable
from tests.fakes import ManualClock

MODEL = "street"
PARAMETERS = RegistryParameters(
    gone_after_s=10.0,
    grace_s=30.0,
    window_s=5.0,
    max_events=200,
    canary=CanaryParameters(min_frames=50, min_compared=10),
)


def sha_of(version: str) -> str:
    return version.replace(".", "").rjust(64, "a")


class World:
    """One model, its registry and its replicas. After every act `check` holds what happened against its own books."""

    def __init__(self, kind: type[ModelRegistry] = ModelRegistry, parameters: RegistryParameters = PARAMETERS) -> None:
        self.kind = kind
        self.parameters = parameters
        self.clock = ManualClock()
        self.registry = self._made()
        self.held: dict[str, dict[VersionKey, Held]] = {}
        self.told: dict[str, tuple[float, dict[VersionKey, Held]]] = {}
        """What each replica reported last, and when."""
        self.acts = 0
        self.last_table: RouteTable | None = None
        self.last_routed_s: dict[str, float] = {}

    def _made(self) -> ModelRegistry:
        return self.kind(self.parameters, clock=self.clock, calendar=lambda: 1e9 + self.clock.now_s)

    @property
    def status(self) -> ModelStatus:
        (status,) = self.registry.describe()
        return status

    def phase(self, version: str) -> Phase:
        return next(one.phase for one in self.status.versions if one.version == version)

    def kinds(self) -> list[str]:
        """What has happened, the oldest first."""
        return [event.kind for event in self.status.events]

    def pass_time(self, seconds: float, *replicas: str) -> None:
        """Time passes while these replicas do what they are told, every second."""
        for _ in range(int(seconds)):
            self.clock.now_s += 1.0
            for replica in replicas:
                self.obey(replica)

    def refusal(self, weights: dict[str, float], **more: Any) -> str:
        """The words with which such a table is refused, from the present epoch; nothing has changed."""
        before = self.registry.describe()
        with pytest.raises(ConflictError) as refused:
            self.registry.put_routes(MODEL, {"weights": weights, **more}, if_match=self.status.route_epoch)
        assert self.registry.describe() == before
        return refused.value.detail

    def live(self) -> dict[str, dict[VersionKey, Held]]:
        """What the replicas that spoke lately said."""
        now_s = self.clock.now_s
        return {name: held for name, (at_s, held) in self.told.items() if now_s - at_s <= self.parameters.gone_after_s}

    def put(self, version: str, *, sha256: str | None = None, is_warm: bool = True) -> None:
        self.acts += 1
        self.registry.put_version(MODEL, version, sha256=sha256 or sha_of(version), is_warm=is_warm)

    def obey(self, replica: str, *, becomes: Phase = Phase.WARM) -> None:
        """The replica reports, does what it is told, and reports again; what it loads ends as `becomes`."""
        self.acts += 1
        self.report(replica)
        mine = self.held[replica]
        order = self.registry.directive(replica)
        for key in order.unload:
            if mine[key].in_flight == 0:
                del mine[key]
        for load in order.load:
            error = "the file is broken" if becomes is Phase.FAILED else None
            mine[load.model, load.version] = Held(phase=becomes, error=error, attempt=load.attempt)
        self.report(replica)

    def report(self, replica: str) -> None:
        mine = dict(self.held.setdefault(replica, {}))
        self.told[replica] = (self.clock.now_s, mine)
        self.registry.report(replica, mine)

    def die(self, replica: str) -> None:
        self.acts += 1
        self.held.pop(replica, None)

    def fly(self, replica: str, version: str, frames: int) -> None:
        """So many frames are in that version now, as its next report says."""
        self.acts += 1
        mine = self.held.get(replica, {})
        held = mine.get((MODEL, version))
        if held is not None and held.phase is Phase.WARM:
            mine[MODEL, version] = replace(held, in_flight=frames)

    def route(self, weights: dict[str, float], *, behind: int = 0, shadow: str | None = None) -> None:
        """Change the table by an epoch `behind` the present one. What must be refused is, and then nothing changed."""
        self.acts += 1
        before = self.status, self.registry.view()
        epoch = before[0].route_epoch
        named = {*weights, *([] if shadow is None else [shadow])}
        document = {"weights": weights, "shadow": shadow}
        try:
            self.registry.put_routes(MODEL, document, if_match=epoch - behind)
        except SightlineError as error:
            assert (self.status, self.registry.view()) == before, "a refused change changed something"
            if not isinstance(error, ConflictError):
                raise
            return
        assert behind == 0, "a lost race was won"
        live = self.live()
        assert live, "no replica was there"
        for held in live.values():
            ready = {version for (_, version), one in held.items() if one.phase is Phase.WARM}
            assert named <= ready, "a version was routed that a replica has not"

    def observe(self, version: str, traffic: Traffic, *, agreement: float | None = None, compared: int = 0) -> None:
        self.acts += 1
        epoch = self.status.route_epoch
        self.registry.observe(MODEL, version, traffic, epoch=epoch, agreement=agreement, compared=compared)

    def restart(self) -> None:
        """Another registry goes on from what the store has; replicas keep talking."""
        self.acts += 1
        kept = json.loads(json.dumps(self.registry.snapshot()))
        self.clock.now_s += 1000.0  # another machine's clock
        self.registry = self._made()
        self.registry.restore(kept)
        self.told = {
            name: (self.clock.now_s, held) for name, (_, held) in self.told.items() if name in kept["replicas"]
        }
        self.last_routed_s = {version: at_s + 1000.0 for version, at_s in self.last_routed_s.items()}

    def check(self) -> None:
        """What must always hold."""
        status = self.status
        table = status.routes
        if self.last_table is not None:
            assert table is not None, "the routes are gone"
            assert table.epoch >= self.last_table.epoch, "the epoch fell"
            assert table == self.last_table or table.epoch > self.last_table.epoch, "a table changed within its epoch"
        self.last_table = table
        routed = {one.version: one for one in status.versions if one.phase in ROUTED}
        named = () if table is None else table.versions
        assert set(named) == set(routed), "the table and the phases differ"
        if table is not None:
            assert sum(share for _, share in table.weights) == 100
            assert routed[table.primary].phase is Phase.PRIMARY
            assert [one.phase for one in routed.values()].count(Phase.PRIMARY) == 1
        self.last_routed_s |= dict.fromkeys(routed, self.clock.now_s)
        self._check_unloading(routed)

    def _check_unloading(self, routed: Collection[str]) -> None:
        live = self.live()
        for replica in live:
            for _, version in self.registry.directive(replica).unload:
                assert version not in routed, "a routed version is unloaded"
                since_s = self.clock.now_s - self.last_routed_s.get(version, -1e9)
                assert since_s >= self.parameters.grace_s, "a version is unloaded before its grace is over"


def world(*, replicas: int = 1, versions: Sequence[str] = ("1.0.0",)) -> World:
    """A world whose first version is PRIMARY and whose others are WARM, on every replica."""
    made = World()
    made.registry.seed(MODEL, versions[0])
    for version in versions[1:]:
        made.put(version)
    for number in range(replicas):
        made.obey(f"r{number}")
    return made
