"""What the registry of models knows, and the small steps by which it changes; each step is told as an event."""

from collections import deque
from collections.abc import Callable

from app.pipeline.model_records import (
    ModelStatus,
    RegistryEvent,
    RegistryParameters,
    ReplicaRecord,
    VersionKey,
    VersionRecord,
    VersionStatus,
)
from app.policy.lifecycle import ROUTED, USABLE, Phase, transition
from app.policy.model_names import version_order
from app.policy.route_table import WHOLE, RouteTable


class RegistryState:
    """Versions, replicas and tables. `revision` grows with everything that an ingress must hear of.

    `clock` counts seconds evenly, `calendar` gives UTC for events.
    """

    def __init__(
        self, parameters: RegistryParameters, *, clock: Callable[[], float], calendar: Callable[[], float]
    ) -> None:
        self.clock = clock
        self._calendar = calendar
        self.revision = 0
        self.default_model: str | None = None
        self.versions: dict[VersionKey, VersionRecord] = {}
        self.tables: dict[str, RouteTable] = {}
        self.replicas: dict[str, ReplicaRecord] = {}
        self.seeds: dict[str, str] = {}
        """By model the version that becomes its first table as soon as a replica has it."""
        self.events: deque[RegistryEvent] = deque(maxlen=parameters.max_events)

    def epoch(self, model: str) -> int:
        """The number of the model's route table, 0 before its first."""
        table = self.tables.get(model)
        return 0 if table is None else table.epoch

    def models(self) -> list[str]:
        """The default first, then by name."""
        return sorted({model for model, _ in self.versions}, key=lambda model: (model != self.default_model, model))

    def versions_of(self, model: str) -> list[VersionRecord]:
        """The oldest first."""
        found = [record for record in self.versions.values() if record.model == model]
        return sorted(found, key=lambda record: version_order(record.version))

    def unready(self, model: str, version: str) -> str | None:
        """Why that version cannot be routed; None where it can: every replica that lives has it, and it may stay."""
        record = self.versions.get((model, version))
        if record is None:
            return f"there is no version {version}"
        if record.phase not in USABLE | {Phase.DRAINING} or record.is_released or record.has_failed:
            return f"{version} is {record.phase}"
        if not self.replicas:
            return "no replica is there"
        copies = [replica.copy_of(record) for replica in self.replicas.values()]
        missing = sum(copy is None or copy.phase is not Phase.WARM for copy in copies)
        return f"{version} is not ready on {missing} of {len(copies)} replicas" if missing else None

    def enter(self, record: VersionRecord) -> None:
        """A version that was not known before."""
        self.versions[record.key] = record
        self.revision += 1
        self.tell(record.model, record.version, kind=record.phase.lower(), words=record.reason or "it is known now")

    def move(self, record: VersionRecord, to: Phase, *, reason: str | None = None) -> None:
        """Into another phase; ConflictError where that one cannot follow."""
        words = f"{record.phase} to {to}" + (f": {reason}" if reason else "")
        record.phase = transition(record.phase, to)
        record.reason = reason
        record.since_s = self.clock()
        self.revision += 1
        self.tell(record.model, record.version, kind=to.lower(), words=words)

    def note(self, record: VersionRecord, why: str | None) -> None:
        """Say what is wrong with a version that stays what it is; None: nothing is, any more."""
        if record.reason != why:
            record.reason = why
            self.revision += 1
            self.tell(record.model, record.version, kind="failing" if why else "well", words=why or "loaded after all")

    def install(self, model: str, table: RouteTable, *, kind: str, why: str) -> None:
        """The model's table from now on, whole; its versions become what the table makes them."""
        self.tables[model] = table
        weights = ", ".join(f"{version} {share / WHOLE:.2f}" for version, share in table.weights)
        self.tell(model, None, kind=kind, words=f"{weights}: {why}")
        self.revision += 1
        for record in self.versions_of(model):
            if record.version in table.versions:
                to = Phase.PRIMARY if record.version == table.primary else Phase.CANARY
            else:
                to = Phase.DRAINING if record.phase in ROUTED else record.phase
            if to is not record.phase:
                self.move(record, to, reason="in no route any more" if to is Phase.DRAINING else None)

    def tell(self, model: str, version: str | None, *, kind: str, words: str) -> None:
        """Remember that something happened."""
        at_s, epoch = self._calendar(), self.epoch(model)
        event = RegistryEvent(at_s=at_s, model=model, version=version, kind=kind, words=words, route_epoch=epoch)
        self.events.append(event)

    def status(self, model: str) -> ModelStatus:
        """One model as it stands."""
        return ModelStatus(
            model=model,
            route_epoch=self.epoch(model),
            routes=self.tables.get(model),
            versions=tuple(map(self.version_status, self.versions_of(model))),
            events=tuple(event for event in self.events if event.model == model),
        )

    def version_status(self, record: VersionRecord) -> VersionStatus:
        """One version as it stands."""
        table = self.tables.get(record.model)
        copies = {replica: known.copy_of(record) for replica, known in sorted(self.replicas.items())}
        return VersionStatus(
            version=record.version,
            phase=record.phase,
            weight=0.0 if table is None else table.weight_of(record.version),
            uri=record.uri,
            sha256=record.sha256,
            reason=record.reason,
            replicas={replica: copy.phase for replica, copy in copies.items() if copy is not None},
            degraded={replica: copy.degraded for replica, copy in copies.items() if copy and copy.degraded is not None},
        )
