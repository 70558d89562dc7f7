"""What joins a process that detects to the registry of models: it reports what it holds, and does as it is told."""

import asyncio
import logging
import secrets
from contextvars import Context
from typing import Final

from app.core.errors import ModelError, SightlineError
from app.core.metrics import SILENT, Metrics
from app.core.ports import Engine
from app.pipeline.detector import Detector
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.model_records import Directive, Load
from app.pipeline.version_keeper import VersionKeeper
from app.settings import Settings
from deployments.models import book_of
from engines.ladder import EngineLadder, EngineOptions
from engines.signature import load_keys
from engines.store import ModelStore
from engines.version_opening import PATIENCE_S, VersionOpening

LOG = logging.getLogger("sightline")
_BUSY_S: Final = 0.1
_QUIET_S: Final = 1.0
"""Between two reports; an order to load waits for so long at the most. Each costs two processes some milliseconds."""


_PROBE_S: Final = 2.0


def ladder_of(settings: Settings) -> EngineLadder:
    """How this process opens versions."""
    model = settings.model
    options = EngineOptions(
        kind=model.engine,
        streams=model.streams,
        max_batch=model.max_batch,
        has_smaller=model.degrade,
        vram_bytes=model.vram_bytes,
    )
    return EngineLadder(options, guard=model.serving.guard)


class VersionLink:
    """One Detector's heartbeat. `begin` on the event loop that the Detector is called on; twice is once."""

    def __init__(
        self, detector: Detector, settings: Settings, *, ladder: EngineLadder, metrics: Metrics = SILENT
    ) -> None:
        model = settings.model
        store = ModelStore(model.store_folder, trusted_keys=load_keys(model.trusted_keys))
        self._detector = detector
        self._opening = VersionOpening(store=store, ladder=ladder)
        self._keeper = VersionKeeper(detector, self._open, metrics=metrics)
        self._book = book_of(detector.first.spec, settings.registry)
        self._replica = secrets.token_hex(8)
        self._told = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Report from now on."""
        if not self._running:
            self._running = [asyncio.create_task(work, context=Context()) for work in (self._run(), self._probe())]

    async def meet(self) -> None:
        """Return when everything is loaded that the registry wants here at this time."""
        self.begin()
        await self._told.wait()

    async def _open(self, load: Load) -> Engine | GuardedEngine:
        if load.uri not in {"", f"{load.model}/{load.version}"}:
            raise ModelError("uri: a version lies in the store by its own name, <model>/<version>")
        # Before the first word of the registry is followed nobody is answered here: others wait for this replica.
        patience_s = PATIENCE_S if self._told.is_set() else 0.0
        return await self._opening.open(load.model, load.version, sha256=load.sha256, patience_s=patience_s)

    async def _probe(self) -> None:
        """Apart from the heartbeat: an engine that hangs is no replica that is gone."""
        while True:
            await asyncio.sleep(_PROBE_S)
            try:
                await asyncio.to_thread(self._detector.probe)
            except Exception:
                LOG.exception("the better engines of this replica could not be tried")

    async def _run(self) -> None:
        while True:
            try:
                directive: Directive = await self._book.ask(
                    lambda book: book.report.remote(self._replica, self._keeper.held(), self._detector.traffic.take())
                )
                self._keeper.follow(directive)
                if not self._keeper.is_busy:
                    self._told.set()
            except SightlineError as error:
                LOG.warning("the registry of models cannot be reached: %s", error.detail)
            await asyncio.sleep(_BUSY_S if self._keeper.is_busy else _QUIET_S)
