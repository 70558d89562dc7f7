"""A gang of shards behind one caller, whose members say where they are and can be held at their part of the work."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from app.settings import ModelSettings
from deployments.faults import answer
from deployments.gang_router import member
from deployments.sharded import sharded_detector
from deployments.shards import Shard, ShardParameters
from tests.held_part import HeldPart

ANSWER_S = 8.0


class WatchedShard(Shard):
    """A shard that can be asked who it is and for the network's raw output."""

    def _open(self, parameters: ShardParameters) -> HeldPart:
        part, gang = super()._open(parameters), self._gang
        return HeldPart(part, rank=gang.rank, size=gang.world_size, folder=parameters.parts)

    async def who(self) -> dict[str, Any]:
        return {
            "gang": self._gang.gang_id,
            "rank": self._gang.rank,
            "pid": os.getpid(),
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }

    async def infer(self, pixels: list[np.ndarray]) -> np.ndarray:
        return await asyncio.to_thread(self._engine.infer, pixels)

    async def misuse(self) -> None:
        """Hand on what the next member cannot take."""
        await self._pass_on({"other": np.zeros(1, np.float32)})


class Caller:
    """Calls the gang as the other stages do."""

    def __init__(self, shard: DeploymentHandle[Any]) -> None:
        self._shard = shard

    async def who(self, gang: str | None = None, rank: int = 0) -> dict[str, Any]:
        shard = self._shard if gang is None else self._shard.options(session_id=member(gang, rank))
        return await answer(shard.who.remote())

    async def leaders(self, count: int) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self.who() for _ in range(count)))

    async def infer(self, pixels: list[np.ndarray]) -> np.ndarray:
        return await answer(self._shard.infer.remote(pixels))

    async def misuse(self) -> None:
        await answer(self._shard.misuse.remote())

    async def detect(self, inputs: list[Any]) -> list[Any]:
        return await answer(self._shard.detect.remote(inputs))


def build(args: dict[str, str]) -> Application:
    """`args`: `model`, the folder of its `parts`, how many `gangs`."""
    shards = sharded_detector(
        ModelSettings(path=Path(args["model"])),
        ShardParameters(parts=Path(args["parts"]), answer_s=ANSWER_S),
        gangs=int(args["gangs"]),
        kind=WatchedShard,
    )
    caller = serve.deployment(name="Caller", max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})(Caller)
    return caller.bind(shards)
