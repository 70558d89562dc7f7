"""The tracking stage as a deployment: tracks of videos, and live streams from their mailbox to their events."""

from typing import Any

from ray.serve.handle import DeploymentHandle

from app import assembly
from app.core.model import ModelSpec
from app.pipeline.stream_metrics import StreamsLook
from app.pipeline.streams import Streams
from app.pipeline.tally import Tally
from app.pipeline.tracker import Tracker as TrackerStage
from app.settings import Settings
from deployments.chain import ServeDetection
from deployments.load_report import StageReport
from deployments.logs import write_as_serve_does
from deployments.metrics import sampler_of
from deployments.models import ClusterModels
from deployments.stream_store import RayStreamStore


class Tracker(TrackerStage, Streams):
    """Owner of the streams that are routed to this replica."""

    def __init__(self, settings: Settings, spec: ModelSpec, **stages: DeploymentHandle[Any]) -> None:
        write_as_serve_does()
        tally = Tally()
        TrackerStage.__init__(self, settings.tracker, metrics=tally)
        self._models = ClusterModels(spec, settings.registry)
        self._report = StageReport()
        store = RayStreamStore(history=settings.streams.history)
        around = assembly.surroundings(settings, ServeDetection(**stages), self._models, store=store, metrics=tally)
        Streams.__init__(self, around)
        sampler_of(tally, settings.telemetry).watch(StreamsLook(self, tally))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every second or so, where the number of replicas is not fixed."""
        return self._report.stats()

    async def check_health(self) -> None:
        """Asked every few seconds from the start on: what an earlier process left for the sinks is delivered."""
        self._models.begin()
        await self.begin()
