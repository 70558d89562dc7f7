"""The stages that know nothing of a cluster, as deployments: they tell how busy they are."""

from typing import Any

from app.core import metrics as table
from app.pipeline.decoder import Decoder as DecoderStage
from app.pipeline.preprocessor import Preprocessor as PreprocessorStage
from app.pipeline.sampler import TelemetryParameters
from app.pipeline.tally import Tally
from deployments.load_report import StageReport
from deployments.logs import write_as_serve_does
from deployments.metrics import sampler_of


class Decoder(DecoderStage):
    """The stage that decodes."""

    def __init__(self, *arguments: Any, telemetry: TelemetryParameters, **knobs: Any) -> None:
        write_as_serve_does()
        tally = Tally()
        super().__init__(*arguments, metrics=tally, **knobs)
        self._report = StageReport()
        sampler_of(tally, telemetry).watch(lambda: tally.set(table.DECODER_VIDEOS, to=self.open_videos))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every second or so, where the number of replicas is not fixed."""
        return self._report.stats()


class Preprocessor(PreprocessorStage):
    """The stage that fits pictures to the model's canvas."""

    def __init__(self, *arguments: Any, telemetry: TelemetryParameters, **knobs: Any) -> None:
        write_as_serve_does()
        tally = Tally()
        super().__init__(*arguments, metrics=tally, **knobs)
        self._report = StageReport()
        sampler_of(tally, telemetry)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every second or so, where the number of replicas is not fixed."""
        return self._report.stats()
