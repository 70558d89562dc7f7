"""How a replica learns that it is being stopped, while it still serves."""

import asyncio
from typing import Any, Final

import ray

POLL_S: Final = 0.25


async def drained() -> None:
    """Return when this replica's draining began; a replica that is killed never hears of it.

    Serve tells user code nothing until the last request has ended. Its own replica object, which lives in this process,
    knows: the flag is set as the controller's call to stop comes in, with HAProxy and with Serve's proxy alike, and is
    what `/-/healthz` answers from. RuntimeError outside of a replica and on a Ray that has other names for it.
    """
    replica = _replica()
    while not replica._shutting_down:  # noqa: ASYNC110, SLF001  Serve has no event and no public name for it
        await asyncio.sleep(POLL_S)


def _replica() -> Any:
    worker = ray._private.worker.global_worker  # noqa: SLF001  no public way to the actor that this code runs in
    actor = worker.actors.get(worker.actor_id)
    replica = getattr(actor, "_replica_impl", None)
    if not hasattr(replica, "_shutting_down"):
        raise RuntimeError("this is no Serve replica as Ray 2.60 has it")
    return replica
