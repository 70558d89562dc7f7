"""How a version gets from phase to phase: by what is asked for, and by what the replicas say of it."""

from app.core.errors import ConflictError
from app.pipeline.model_records import HELD, VersionRecord
from app.pipeline.registry_state import RegistryState
from app.policy.lifecycle import GONE, ROUTED, Phase
from app.policy.route_table import WHOLE, RouteTable


def advance(state: RegistryState, record: VersionRecord, *, grace_s: float) -> None:
    """Move a version on as far as the replicas' reports allow."""
    is_seed = state.seeds.get(record.model) == record.version
    if record.phase in GONE and not is_seed:
        return
    copies = [replica.copy_of(record) for replica in state.replicas.values()]
    failed = next((copy for copy in copies if copy is not None and copy.phase is Phase.FAILED), None)
    why = None if failed is None else f"a replica cannot load it: {failed.error or 'no reason is known'}"
    is_warm = [copy is not None and copy.phase is Phase.WARM for copy in copies]
    is_going = record.phase is Phase.DRAINING and record.is_released
    if is_seed and not is_going:
        _advance_seed(state, record, is_there=any(is_warm), why=why)
        return
    match record.phase:
        case Phase.LOADING if why is not None:
            state.move(record, Phase.FAILED, reason=why)
        case Phase.LOADING if is_warm and all(is_warm):
            state.move(record, Phase.WARM)
        case Phase.WARM if why is not None:
            record.has_failed = True
            state.move(record, Phase.DRAINING, reason=why)
        case Phase.CANARY if why is not None:
            roll_back(state, record, why)
            record.has_failed = True
        case Phase.PRIMARY:
            state.note(record, why)  # nothing better is there: the replicas that have it answer
        case Phase.DRAINING:
            _drain(state, record, grace_s=grace_s)


def want(state: RegistryState, record: VersionRecord) -> None:
    """Every replica is to have it; ConflictError while it is being unloaded."""
    match record.phase:
        case Phase.UNLOADED | Phase.FAILED:
            record.attempt += 1
            record.has_failed = record.is_released = False
            record.card = None
            state.move(record, Phase.LOADING)
        case Phase.DRAINING if record.is_released or record.has_failed:
            raise ConflictError(f"{record.model} {record.version} is being unloaded: ask again when it is")
        case Phase.DRAINING:
            state.move(record, Phase.WARM)


def leave(state: RegistryState, record: VersionRecord) -> None:
    """No replica is to have it; ConflictError while it is routed."""
    if record.phase in ROUTED or state.seeds.get(record.model) == record.version:
        raise ConflictError(f"{record.model} {record.version} answers frames: take it out of the routes first")
    if record.phase in {Phase.WARM, Phase.LOADING}:
        state.move(record, Phase.DRAINING, reason="no longer asked for")


def roll_back(state: RegistryState, record: VersionRecord, reason: str) -> None:
    """Take a candidate out of its table at once, under a new epoch; its weight goes to the primary."""
    table = state.tables[record.model].without(record.version, epoch=state.epoch(record.model) + 1)
    state.install(record.model, table, kind="rollback", why=f"{record.version} is rolled back, as {reason}")
    record.reason = f"rolled back, as {reason}"


def _advance_seed(state: RegistryState, record: VersionRecord, *, is_there: bool, why: str | None) -> None:
    """The first version of a model never fails: a replica that starts anew may have more luck with it."""
    record.has_failed = False
    if record.phase not in {Phase.LOADING, Phase.WARM}:
        want(state, record)
    if not is_there:
        state.note(record, why)
        return
    del state.seeds[record.model]
    if record.phase is Phase.LOADING:
        state.move(record, Phase.WARM)
    table = RouteTable(epoch=1, weights=((record.version, WHOLE),))
    state.install(record.model, table, kind="routes", why="the first version is there")


def _drain(state: RegistryState, record: VersionRecord, *, grace_s: float) -> None:
    """Let go of it when its grace is over and no replica has a frame in it, by a report newer than the change."""
    copies = [replica.held.get(record.key) for replica in state.replicas.values()]
    is_still = all(copy is None or copy.in_flight == 0 for copy in copies)
    is_known = all(replica.heard_s >= record.since_s for replica in state.replicas.values())
    if is_still and is_known and state.clock() - record.since_s >= grace_s:
        record.is_released = True
    if record.is_released and all(copy is None or copy.phase not in HELD for copy in copies):
        state.move(record, Phase.FAILED if record.has_failed else Phase.UNLOADED, reason=record.reason)
