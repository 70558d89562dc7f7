"""The detecting stage as a deployment: opens its engine inside the replica and is warm before it is ready."""

from app.pipeline.detector import Detector as DetectorStage
from app.settings import Settings
from engines.opening import open_engine


class Detector(DetectorStage):
    """One engine in one process."""

    def __init__(self, settings: Settings) -> None:
        model = settings.model
        engine = open_engine(model.file, kind=model.engine, streams=model.streams, max_batch=model.max_batch)
        super().__init__(engine, thresholds=model.thresholds, max_batch=model.max_batch)
