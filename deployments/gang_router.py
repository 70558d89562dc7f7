"""Which member of a gang a call goes to: callers reach the first, and members each other by gang and rank."""

import random
from typing import Any, TypeAlias

from ray.serve.request_router import PendingRequest, RunningReplica

from app.core.errors import UnavailableError
from deployments.routing import SessionRouter

Metadata: TypeAlias = dict[str, Any]


def metadata(gang: str, rank: int) -> Metadata:
    """What a member says of itself, from `record_replica_metadata`."""
    return {"gang": gang, "rank": rank}


def member(gang: str, rank: int) -> str:
    """The `session_id` of calls that are for this member."""
    return f"{gang}/{rank}"


class GangRouter(SessionRouter):
    """Sends calls without a session to a gang's member of rank 0, and calls for a member to that one and no other.

    A member that is gone does not come back: its gang starts anew under another name. So a call for it fails at once
    with UnavailableError, where one that any gang can serve waits for the next.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The member that the session names alone; without a session every member of rank 0, in any order."""
        session = pending_request.metadata.session_id if pending_request else ""
        if not session:
            leaders = [replica for replica in candidate_replicas if replica.replica_metadata.get("rank") == 0]
            return [random.sample(leaders, len(leaders))]
        for replica in candidate_replicas:
            known = replica.replica_metadata
            if known and member(known["gang"], known["rank"]) == session:
                return [[replica]]
        raise UnavailableError
