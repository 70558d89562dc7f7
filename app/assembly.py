"""The whole path in one process, put together from the settings and an engine."""

from collections.abc import Callable
from contextvars import Context

from app.core.metrics import SILENT, Metrics
from app.core.ports import Engine
from app.pipeline.chain import Chain, DetectChain, LocalChain
from app.pipeline.decoder import Decoder
from app.pipeline.detector import Detector
from app.pipeline.file_run import FileRun
from app.pipeline.frame_path import FramePath
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.models import Models
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.stream_store import StreamStore
from app.pipeline.streams import Streams
from app.pipeline.surroundings import Surroundings
from app.pipeline.tracker import Tracker
from app.settings import Settings


def detector(settings: Settings, engine: Engine | GuardedEngine, *, metrics: Metrics = SILENT) -> Detector:
    """The detecting stage over an open engine."""
    return Detector(engine, parameters=settings.model.serving, metrics=metrics)


def local_chain(settings: Settings, engine: Engine | GuardedEngine, *, metrics: Metrics = SILENT) -> LocalChain:
    """Every stage in this process."""
    return LocalChain(
        decoder=Decoder(engine.spec, settings.decoder, metrics=metrics),
        preprocessor=Preprocessor(engine.spec, steps=settings.steps, metrics=metrics),
        detector=detector(settings, engine, metrics=metrics),
        tracker=Tracker(settings.tracker, metrics=metrics),
    )


def frame_path(
    settings: Settings,
    chain: Chain,
    models: Models,
    *,
    metrics: Metrics = SILENT,
    context: Callable[[], Context] = Context,
) -> FramePath:
    """The caller's path over a chain, wherever its stages run."""
    return FramePath(
        chain,
        models=models,
        limits=settings.batching,
        video_batch=settings.video_batch,
        video_batches=settings.video_batches,
        metrics=metrics,
        context=context,
    )


def surroundings(
    settings: Settings, chain: DetectChain, models: Models, *, store: StreamStore, metrics: Metrics = SILENT
) -> Surroundings:
    """What all live streams of one owner use."""
    return Surroundings(
        chain=chain,
        store=store,
        models=models,
        tracker=settings.tracker,
        limits=settings.streams,
        pull=settings.pull,
        decoding=settings.decoder.limits,
        delivery=settings.delivery,
        metrics=metrics,
    )


def streams(
    settings: Settings, chain: DetectChain, models: Models, *, store: StreamStore, metrics: Metrics = SILENT
) -> Streams:
    """The owner of live streams, wherever the stages that detect run."""
    return Streams(surroundings(settings, chain, models, store=store, metrics=metrics))


def file_run(settings: Settings, engine: Engine) -> FileRun:
    """A video file's way through the stages of this process."""
    return FileRun(
        preprocessor=Preprocessor(engine.spec, steps=settings.steps),
        detector=detector(settings, engine),
        tracker=Tracker(settings.tracker),
        max_frames=settings.video_batch,
        window=settings.video_batches,
    )
