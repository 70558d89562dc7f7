"""Detectors with a whole GPU, with half of one, and with none, that say which devices they see."""

import os
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from app.settings import ModelSettings, Settings
from deployments.accelerators import actor_options
from deployments.detector import Detector

KINDS = {"Whole": 1.0, "Half": 0.5, "Blind": 0.0}


class Pinned(Detector):
    """The detector of the graph."""

    async def who(self) -> tuple[int, str | None]:
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


class Caller:
    def __init__(self, **kinds: DeploymentHandle[Any]) -> None:
        self._kinds = kinds

    async def who(self, kind: str) -> tuple[int, str | None]:
        return await self._kinds[kind].who.remote()


def build(args: dict[str, str]) -> Application:
    """Two replicas of each kind; `args` are not looked at."""
    del args
    settings = Settings(model=ModelSettings(engine="reference", streams=1))
    kinds = {
        name: serve.deployment(name=name, num_replicas=2, ray_actor_options=actor_options(share, num_cpus=0.1))(
            Pinned
        ).bind(settings)
        for name, share in KINDS.items()
    }
    return serve.deployment(name="Caller", ray_actor_options={"num_cpus": 0})(Caller).bind(**kinds)
