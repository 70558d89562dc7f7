"""The registry of models: who has which version, which is to be had, and which answers. Pure but for two clocks."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from app.core.errors import ConflictError, InvalidParameterError, NotFoundError
from app.pipeline.canary_watch import CanaryWatch
from app.pipeline.model_records import (
    HELD,
    Directive,
    Held,
    Load,
    ModelStatus,
    RegistryParameters,
    ReplicaRecord,
    VersionKey,
    VersionRecord,
    VersionStatus,
)
from app.pipeline.registry_snapshot import read_snapshot, snapshot_of
from app.pipeline.registry_state import RegistryState
from app.pipeline.version_life import advance, leave, roll_back, want
from app.policy.canary import Traffic, Verdict
from app.policy.lifecycle import GONE, Phase
from app.policy.model_names import checked_model, checked_version
from app.policy.route_document import parsed, to_document

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_URI: Final = re.compile(r"[A-Za-z0-9._/@:+-]{0,512}")
_FIRST_TO_LOAD: Final = (Phase.PRIMARY, Phase.CANARY, Phase.WARM, Phase.LOADING)


class ModelRegistry:
    """Versions, replicas and route tables of all models, in one place and one thread.

    Every call also does what has become due; call `tick` when no other call comes for a second.
    """

    def __init__(
        self,
        parameters: RegistryParameters | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._parameters = parameters or RegistryParameters()
        self._clock = clock
        self._state = RegistryState(self._parameters, clock=clock, calendar=calendar)
        canary, window_s = self._parameters.canary, self._parameters.window_s
        self._watch = CanaryWatch(canary, window_s=window_s, now_s=clock())

    @property
    def revision(self) -> int:
        """Grows with everything that the ingresses must hear of, and the store."""
        return self._state.revision

    def seed(self, model: str, version: str, *, uri: str = "", sha256: str | None = None) -> None:
        """Let this version answer everything of a model that has no routes yet. The first model is the default."""
        checked_version(version)
        state = self._state
        state.default_model = state.default_model or model
        if model not in state.tables:
            state.seeds[model] = version
            if (model, version) not in state.versions:
                self._enter(model, version, phase=Phase.LOADING, uri=uri, sha256=sha256)
        self.tick()

    def put_version(
        self, model: str, version: str, *, sha256: str, uri: str = "", is_warm: bool = True
    ) -> VersionStatus:
        """Have a version loaded by every replica, or, unless `is_warm`, by none. Again is once.

        One that failed is tried again. ConflictError for other content under a number that was given, for one that is
        routed and shall go, and for one that is just going.
        """
        checked_model(model)
        checked_version(version)
        if not _SHA256.fullmatch(sha256):
            raise InvalidParameterError("sha256: 64 hexadecimal digits in lower case")
        if not _URI.fullmatch(uri) or ".." in uri:
            raise InvalidParameterError("uri: a name in the model store, without two dots in a row")
        self.tick()
        record = self._state.versions.get((model, version))
        if record is None:
            phase = Phase.LOADING if is_warm else Phase.UNLOADED
            record = self._enter(model, version, phase=phase, uri=uri, sha256=sha256)
        elif record.sha256 not in {None, sha256} and record.phase is not Phase.FAILED:
            raise ConflictError(f"{model} {version} has other content: a version never changes, give it another number")
        else:
            (want if is_warm else leave)(self._state, record)
            record.sha256, record.uri = sha256, uri or record.uri
        self.tick()
        return self._state.version_status(record)

    def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        """Change the whole table of a model at once, if its epoch is still `if_match`; 0 is before the first.

        NotFoundError, InvalidParameterError for a malformed table. ConflictError for a lost race, and where a version
        of the table is not ready on every replica; then nothing has changed.
        """
        self.tick()
        state, epoch = self._state, self._state.epoch(model)
        if not state.versions_of(model):
            raise NotFoundError("there is no model by that name")
        table = parsed(document, epoch=epoch + 1)
        if if_match != epoch:
            raise ConflictError(f"the route epoch of {model} is {epoch}, not {if_match}: read the routes again")
        unready = [words for version in table.versions if (words := state.unready(model, version)) is not None]
        if unready:
            raise ConflictError(f"the routes of {model} stay as they are: {'; '.join(dict.fromkeys(unready))}")
        state.seeds.pop(model, None)
        state.install(model, table, kind="routes", why="as asked for")
        self._watch.forget(model)
        self.tick()
        return self._status(model)

    def report(self, replica: str, held: Mapping[VersionKey, Held]) -> None:
        """A heartbeat: all that this replica has, or could not load; what is not named is not there."""
        state = self._state
        state.replicas[replica] = ReplicaRecord(heard_s=self._clock(), held=dict(held))
        for (model, version), copy in held.items():
            record = state.versions.get((model, version))
            if record is None and copy.phase in HELD:
                # It outlived what we knew of it. There may be frames in it, so that it goes like any other.
                record = self._enter(
                    model, version, phase=Phase.DRAINING, attempt=copy.attempt, reason="held and not asked for"
                )
            if record is not None and record.card is None and copy.card is not None:
                record.card = copy.card
                state.revision += 1
        self.tick()

    def observe(
        self,
        model: str,
        version: str,
        traffic: Traffic | None = None,
        *,
        epoch: int,
        agreement: float | None = None,
        compared: int = 0,
    ) -> None:
        """Statistics of frames that were routed under `epoch`; those of another table are passed over."""
        table = self._state.tables.get(model)
        if table is not None and table.epoch == epoch and version in table.versions:
            self._watch.observe(model, version, traffic or Traffic(), agreement=agreement, compared=compared)
        self.tick()

    def directive(self, replica: str) -> Directive:
        """What that replica has to load, what is needed most first, and to unload."""
        self.tick()
        versions = self._state.versions
        known = self._state.replicas.get(replica) or ReplicaRecord(heard_s=0.0, held={})
        wanted = [
            record
            for phase in _FIRST_TO_LOAD
            for record in versions.values()
            if record.phase is phase and ((copy := known.copy_of(record)) is None or copy.phase is Phase.UNLOADED)
        ]
        return Directive(
            load=tuple(
                Load(model=one.model, version=one.version, uri=one.uri, sha256=one.sha256, attempt=one.attempt)
                for one in wanted
            ),
            unload=tuple(
                key
                for key, held in known.held.items()
                if held.phase in HELD and ((record := versions.get(key)) is None or record.is_over)
            ),
        )

    def view(self, after_revision: int = -1) -> dict[str, Any] | None:
        """All that an ingress needs for routing, as JSON values; None when nothing changed since that revision."""
        self.tick()
        state = self._state
        if after_revision == state.revision:
            return None
        return {
            "revision": state.revision,
            "default_model": state.default_model,
            "models": {
                model: {
                    "route_epoch": state.epoch(model),
                    "routes": to_document(state.tables[model]) if model in state.tables else None,
                    "versions": {
                        record.version: {"phase": record.phase.value, "card": record.card}
                        for record in state.versions_of(model)
                    },
                }
                for model in state.models()
            },
        }

    def describe(self) -> tuple[ModelStatus, ...]:
        """Every model as it stands, the default first."""
        self.tick()
        return tuple(map(self._status, self._state.models()))

    def snapshot(self) -> dict[str, Any]:
        """All that must outlive this process, as JSON values; what was seen of candidates begins anew."""
        return snapshot_of(self._state)

    def restore(self, snapshot: object) -> None:
        """Go on from a snapshot, in place of everything that is known here; SnapshotError for one that is none.

        Its replicas count as heard of now: they have the usual time to speak up.
        """
        read_snapshot(snapshot, into=self._state)
        for model in self._state.tables:
            self._watch.forget(model)

    def tick(self) -> None:
        """Do what is due: replicas that went silent, versions that came or drained, canaries to be judged."""
        state, now_s = self._state, self._clock()
        for replica, known in list(state.replicas.items()):
            if now_s - known.heard_s > self._parameters.gone_after_s:
                del state.replicas[replica]
        for record in list(state.versions.values()):
            before = state.epoch(record.model)
            advance(state, record, grace_s=self._parameters.grace_s)
            if state.epoch(record.model) != before:
                self._watch.forget(record.model)
        if self._watch.is_due(now_s):
            self._judge(now_s)
        gone = sorted((one for one in state.versions.values() if one.phase in GONE), key=lambda one: one.since_s)
        for record in gone[: -self._parameters.max_gone]:
            del state.versions[record.key]

    def _judge(self, now_s: float) -> None:
        state = self._state
        for model, version, decision in self._watch.decisions(state.tables, now_s=now_s):
            if decision.verdict is Verdict.ROLL_BACK:
                roll_back(state, state.versions[model, version], decision.reason)
                self._watch.forget(model)
            elif decision.verdict is Verdict.PROMOTE and not self._is_told_fit(model, version):
                state.tell(model, version, kind="fit", words=f"fit to be promoted, as {decision.reason}")

    def _status(self, model: str) -> ModelStatus:
        status = self._state.status(model)
        versions = (replace(one, candidate=self._watch.candidate(model, one.version)) for one in status.versions)
        return replace(status, versions=tuple(versions))

    def _is_told_fit(self, model: str, version: str) -> bool:
        told = (event for event in self._state.events if event.kind == "fit" and event.model == model)
        return any(event.version == version and event.route_epoch == self._state.epoch(model) for event in told)

    def _enter(
        self,
        model: str,
        version: str,
        *,
        phase: Phase,
        uri: str = "",
        sha256: str | None = None,
        attempt: int = 1,
        reason: str | None = None,
    ) -> VersionRecord:
        record = VersionRecord(
            model=model,
            version=version,
            phase=phase,
            uri=uri,
            sha256=sha256,
            since_s=self._clock(),
            attempt=attempt,
            reason=reason,
        )
        self._state.enter(record)
        return record
