"""Deployments that say which replica a call has come to."""

import asyncio
import os
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

ROOM = 5


class Echo:
    async def who(self) -> tuple[str, int]:
        """The names of this replica: Serve's and the kernel's."""
        return serve.get_replica_context().replica_tag, os.getpid()

    async def hold(self, gate: str) -> str:
        """Keep a place taken until there is a file of that name."""
        while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240  a full replica takes no call that could set an event
            await asyncio.sleep(0.02)
        return serve.get_replica_context().replica_tag


class Caller:
    """Makes many calls at once from within one request."""

    def __init__(self, echo: DeploymentHandle[Any]) -> None:
        self._echo = echo

    async def who(self, sessions: list[str]) -> list[tuple[str, int]]:
        calls = (self._echo.options(session_id=session).who.remote() for session in sessions)
        return list(await asyncio.gather(*calls))

    async def hold(self, session: str, count: int, gate: str) -> list[str]:
        calls = (self._echo.options(session_id=session).hold.remote(gate) for _ in range(count))
        return list(await asyncio.gather(*calls))


def build(args: dict[str, str]) -> Application:
    """A Caller before Echo replicas, which take `ROOM` calls each, behind the router that `args` name."""
    router = RequestRouterConfig(request_router_class=args["router"])  # type: ignore[arg-type]
    light = {"num_cpus": 0}
    echo = serve.deployment(
        name="Echo", max_ongoing_requests=ROOM, ray_actor_options=light, request_router_config=router
    )(Echo)
    caller = serve.deployment(name="Caller", max_ongoing_requests=100, ray_actor_options=light)(Caller)
    return caller.bind(echo.bind())
