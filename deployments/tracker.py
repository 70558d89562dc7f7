"""The tracking stage as a deployment: tracks of videos, and live streams from their mailbox to their events."""

from typing import Any

from ray.serve.handle import DeploymentHandle

from app import assembly
from app.core.model import ModelSpec
from app.pipeline.streams import Streams
from app.pipeline.tracker import Tracker as TrackerStage
from app.settings import Settings
from deployments.chain import ServeDetection
from deployments.models import ClusterModels
from deployments.stream_store import RayStreamStore


class Tracker(TrackerStage, Streams):
    """Owner of the streams that are routed to this replica."""

    def __init__(self, settings: Settings, spec: ModelSpec, **stages: DeploymentHandle[Any]) -> None:
        TrackerStage.__init__(self, settings.tracker)
        self._models = ClusterModels(spec, settings.registry)
        store = RayStreamStore(history=settings.streams.history)
        Streams.__init__(self, assembly.surroundings(settings, ServeDetection(**stages), self._models, store=store))

    async def check_health(self) -> None:
        """Asked every few seconds from the start on: what an earlier process left for the sinks is delivered."""
        self._models.begin()
        await self.begin()
