"""The state of the registry of models as JSON values, for a store that outlives its process."""

from dataclasses import asdict
from typing import Any, Final

from app.core.errors import SightlineError, SnapshotError
from app.pipeline.model_records import Held, RegistryEvent, ReplicaRecord, VersionRecord
from app.pipeline.registry_state import RegistryState
from app.policy.lifecycle import Phase
from app.policy.route_document import parsed, to_document

FORMAT: Final = 1


def snapshot_of(state: RegistryState) -> dict[str, Any]:
    """The state; times are ages in seconds, because the next process has another clock."""
    now_s = state.clock()
    return {
        "format": FORMAT,
        "revision": state.revision,
        "default_model": state.default_model,
        "seeds": dict(state.seeds),
        "tables": {model: {"epoch": table.epoch, **to_document(table)} for model, table in state.tables.items()},
        "versions": [_aged(record, now_s) for record in state.versions.values()],
        "replicas": {
            replica: [{"model": model, "version": version, **asdict(held)} for (model, version), held in known.items()]
            for replica, known in ((replica, record.held) for replica, record in state.replicas.items())
        },
        "events": [asdict(event) for event in state.events],
    }


def read_snapshot(snapshot: Any, *, into: RegistryState) -> None:
    """Put what `snapshot_of` wrote in place of the state; SnapshotError, and nothing changed, where it is none."""
    if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
        raise SnapshotError(f"a snapshot of the registry of models has the format {FORMAT}")
    now_s = into.clock()
    try:
        tables = {
            str(model): parsed(
                {key: value for key, value in table.items() if key != "epoch"}, epoch=int(table["epoch"])
            )
            for model, table in snapshot["tables"].items()
        }
        records = [_record(entry, now_s) for entry in snapshot["versions"]]
        replicas = {
            str(replica): ReplicaRecord(heard_s=now_s, held=dict(map(_held, held)))
            for replica, held in snapshot["replicas"].items()
        }
        events = [RegistryEvent(**event) for event in snapshot["events"]]
        seeds, revision, default = dict(snapshot["seeds"]), int(snapshot["revision"]), snapshot["default_model"]
    except (TypeError, ValueError, KeyError, AttributeError, SightlineError) as error:
        raise SnapshotError(f"the snapshot of the registry of models cannot be read: {error}") from None
    versions = {record.key: record for record in records}
    if missing := [
        (model, one) for model, table in tables.items() for one in table.versions if (model, one) not in versions
    ]:
        raise SnapshotError(f"the snapshot of the registry of models routes what it does not know: {missing}")
    into.tables, into.versions, into.replicas, into.seeds = tables, versions, replicas, seeds
    into.revision, into.default_model = revision, default
    into.events.clear()
    into.events.extend(events)


def _aged(record: VersionRecord, now_s: float) -> dict[str, Any]:
    entry = asdict(record)
    entry["age_s"] = now_s - entry.pop("since_s")
    return entry


def _record(entry: dict[str, Any], now_s: float) -> VersionRecord:
    known = {key: value for key, value in entry.items() if key not in {"age_s", "phase"}}
    return VersionRecord(**known, phase=Phase(entry["phase"]), since_s=now_s - float(entry["age_s"]))


def _held(entry: dict[str, Any]) -> tuple[tuple[str, str], Held]:
    known = {key: value for key, value in entry.items() if key not in {"model", "version", "phase"}}
    return (entry["model"], entry["version"]), Held(**known, phase=Phase(entry["phase"]))
