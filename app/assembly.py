"""The whole path in one process, put together from the settings and an engine."""

from app.core.model import ModelSpec
from app.core.ports import Engine
from app.pipeline.chain import Chain, LocalChain
from app.pipeline.decoder import Decoder
from app.pipeline.detector import Detector
from app.pipeline.file_run import FileRun
from app.pipeline.frame_path import FramePath
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.tracker import Tracker
from app.settings import Settings


def detector(settings: Settings, engine: Engine) -> Detector:
    """The detecting stage over an open engine."""
    return Detector(engine, thresholds=settings.model.thresholds, max_batch=settings.model.max_batch)


def local_chain(settings: Settings, engine: Engine) -> LocalChain:
    """Every stage in this process."""
    return LocalChain(
        decoder=Decoder(engine.spec, settings.decoder),
        preprocessor=Preprocessor(engine.spec, steps=settings.steps),
        detector=detector(settings, engine),
        tracker=Tracker(settings.tracker),
    )


def frame_path(settings: Settings, chain: Chain, spec: ModelSpec) -> FramePath:
    """The caller's path over a chain, wherever its stages run."""
    return FramePath(
        chain,
        spec=spec,
        limits=settings.batching,
        video_batch=settings.video_batch,
        video_batches=settings.video_batches,
        streams=settings.streams,
    )


def file_run(settings: Settings, engine: Engine) -> FileRun:
    """A video file's way through the stages of this process."""
    return FileRun(
        preprocessor=Preprocessor(engine.spec, steps=settings.steps),
        detector=detector(settings, engine),
        tracker=Tracker(settings.tracker),
        max_frames=settings.video_batch,
        window=settings.video_batches,
    )
