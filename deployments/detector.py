"""The detecting stage as a deployment: each version of a model in a process of its own, warm before it is ready."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from app.core.errors import DeviceLostError, NotFoundError
from app.core.frame import Detections, ModelInput
from app.core.outcome import Outcome
from app.pipeline.detector import Detector as DetectorStage
from app.pipeline.detector_metrics import DetectorLook
from app.pipeline.faults import PlantedFault
from app.pipeline.tally import Tally
from app.policy.fault_plan import Fault
from app.settings import Settings
from deployments.load_report import LoadReport
from deployments.logs import write_as_serve_does
from deployments.metrics import sampler_of
from deployments.version_link import VersionLink, ladder_of

LOG = logging.getLogger("sightline")
_MEET_S: Final = 20.0
"""How long a new replica waits for the versions that the others have; Serve gives a health check 30 s."""
_FAREWELL_S: Final = 0.5
"""What is in hand is answered by the engine that stands in."""


class Detector(DetectorStage):
    """Versions of models, as many as the registry wants here; the first is that of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._ladder = ladder_of(settings)
        write_as_serve_does()
        tally = Tally()
        engine = self._ladder.open(settings.model.file)
        super().__init__(engine, parameters=settings.model.serving, metrics=tally)
        self._link = VersionLink(self, settings, ladder=self._ladder, metrics=tally)
        self._has_met = False
        sampler = sampler_of(tally, settings.telemetry, meter=self._ladder.meter())
        sampler.watch(DetectorLook(self, tally))
        self._report = LoadReport(sampler.load)

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """One outcome per item, in order; what came is counted, whatever becomes of it."""
        self._report.arrivals.note(len(inputs))
        return await super().detect(inputs)

    def reconfigure(self, user_config: Mapping[str, Any] | None) -> None:
        """Called by Serve with `user_config` at the start and when it changes; nothing is started anew for that.

        `autoscaling` turns numbers of the scaling policy.
        """
        self._report.turn(user_config)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every second or so, where the number of replicas is not fixed."""
        return self._report.stats()

    async def check_health(self) -> None:
        """Asked every few seconds from the start on: before the first answer every version is here that is routed.

        When an engine is beyond repair this process ends at once; Serve makes another.
        """
        if not self._has_met:
            self._has_met = True
            with suppress(TimeoutError):
                async with asyncio.timeout(_MEET_S):
                    await self._link.meet()
        if self.is_broken:
            LOG.error("an engine is beyond repair in this process, which ends")
            asyncio.get_running_loop().call_later(_FAREWELL_S, os._exit, 1)
            raise DeviceLostError

    async def plant_fault(self, fault_id: str, fault: Fault, *, expires_s: float) -> PlantedFault:
        """Let it strike the engines of this process."""
        return self._ladder.inbox.put(fault, expires_s=expires_s, fault_id=fault_id)

    async def remove_fault(self, fault_id: str) -> PlantedFault | None:
        """Take it back; None where it is not."""
        with suppress(NotFoundError):
            return self._ladder.inbox.remove(fault_id)
        return None

    async def planted_faults(self) -> list[PlantedFault]:
        """Those that are planted now."""
        return self._ladder.inbox.planted()
