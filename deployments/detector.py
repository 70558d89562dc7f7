"""The detecting stage as a deployment: each version of a model in a process of its own, warm before it is ready."""

import asyncio
from contextlib import suppress
from typing import Final

from app.core.errors import UnavailableError
from app.pipeline.detector import Detector as DetectorStage
from app.settings import Settings
from deployments.version_link import VersionLink
from engines.hosted import HostedEngine, open_hosted_engine

_MEET_S: Final = 20.0
"""How long a new replica waits for the versions that the others have; Serve gives a health check 30 s."""


class Detector(DetectorStage):
    """Versions of models, as many as the registry wants here; the first is that of the settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(opened(settings), parameters=settings.model.serving)
        self._link = VersionLink(self, settings)
        self._has_met = False

    async def check_health(self) -> None:
        """Asked every few seconds from the start on: before the first answer every version is here that is routed."""
        if not self._has_met:
            self._has_met = True
            with suppress(TimeoutError):
                async with asyncio.timeout(_MEET_S):
                    await self._link.meet()
        if self.is_broken:
            raise UnavailableError("an engine of this replica is beyond repair")


def opened(settings: Settings) -> HostedEngine:
    """The engine of the settings, in a process of its own."""
    model = settings.model
    return open_hosted_engine(model.file, kind=model.engine, streams=model.streams, max_batch=model.max_batch)
