"""Which replica a call goes to: that of its session, found by hashing over the replicas that live."""

import random
from hashlib import blake2b
from itertools import count

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class SessionRouter(RequestRouter):
    """Sends all calls of one `session_id` to one replica, and calls without one to the least loaded.

    Rendezvous hashing: a session belongs to the replica with the highest hash of both names, so that a death moves only
    the sessions of the dead and one replica more takes only its share. A busy owner is waited for. Each call waits in
    its own coroutine: Serve's router, which finds waiting calls by the id of the request that they come from, loses all
    but one of the calls that one request makes at once, and lets those that wait for one replica hold up the others.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The owner of the session alone; without a session all of them, in any order."""
        session = pending_request.metadata.session_id if pending_request else ""
        if not session:
            return [random.sample(candidate_replicas, len(candidate_replicas))]
        return [[max(candidate_replicas, key=lambda replica: _weight(session, replica.replica_id.unique_id))]]

    async def _choose_replica_for_request(
        self,
        pending_request: PendingRequest,
        *,
        is_retry: bool = False,  # noqa: ARG002  Serve's signature: the caller was refused by a replica and comes again
    ) -> RunningReplica:
        """Wait for a replica that has room, among those that live at that moment."""
        chosen: RunningReplica | None = None
        attempts = count()
        while chosen is None:
            while not self._replicas:
                self._replicas_updated_event.clear()
                await self._replicas_updated_event.wait()
            (candidates,) = await self.choose_replicas(self._replicas_list, pending_request)
            attempt = next(attempts)
            chosen = await self._select_from_candidate_replicas(candidates, attempt)
            if chosen is None:
                await self._backoff(attempt)
        self._record_queue_wait_time(pending_request)
        return chosen


def _weight(session: str, replica: str) -> bytes:
    return blake2b(f"{replica}\0{session}".encode(), digest_size=8).digest()
