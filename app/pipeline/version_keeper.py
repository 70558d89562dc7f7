"""The versions that one process holds: loaded and given back as the registry directs, and told of in every report."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from typing import Any

from app.core import metrics as table
from app.core.errors import InternalError, SightlineError
from app.core.metrics import SILENT, Metrics
from app.core.model import ModelSpec
from app.core.ports import Engine
from app.pipeline.detector import Detector
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.model_card import card_of
from app.pipeline.model_records import Directive, Held, Load, VersionKey
from app.policy.lifecycle import Phase

LOG = logging.getLogger("sightline")
VersionOpener = Callable[[Load], Awaitable[Engine | GuardedEngine]]
"""Opens one version off the serving path and checks it; a SightlineError says why it cannot be served."""


class VersionKeeper:
    """Follows the registry's directives for one Detector. All calls on one event loop; loading happens beside it."""

    def __init__(self, detector: Detector, open_version: VersionOpener, *, metrics: Metrics = SILENT) -> None:
        self._detector = detector
        self._metrics = metrics
        self._open = open_version
        first = detector.first.spec
        self._held: dict[VersionKey, Held] = {(first.name, first.version): _warm(first, attempt=1)}
        self._tasks: dict[VersionKey, asyncio.Task[None]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether something is being loaded or given back."""
        return bool(self._tasks)

    def held(self) -> dict[VersionKey, Held]:
        """What there is of every version, for a report."""
        servings = self._detector.versions
        return {
            key: replace(held, in_flight=servings[key].in_flight, degraded=servings[key].engine.degraded)
            if key in servings
            else held
            for key, held in self._held.items()
        }

    def follow(self, directive: Directive) -> None:
        """Begin what is asked for; what has begun already goes on."""
        for load in directive.load:
            key = load.model, load.version
            if key not in self._tasks and not (key in self._held and self._held[key].attempt == load.attempt):
                self._begin(key, self._load(load))
        for key in directive.unload:
            if key not in self._tasks:
                self._begin(key, self._unload(key))

    async def close(self) -> None:
        """Give up what is being loaded."""
        for task in [*self._tasks.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin(self, key: VersionKey, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[key] = asyncio.create_task(work, context=Context())
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _load(self, load: Load) -> None:
        key = load.model, load.version
        self._held[key] = Held(phase=Phase.LOADING, attempt=load.attempt)
        await self._detector.remove(*key)  # of an attempt before this one
        start_s = time.perf_counter()
        try:
            engine = await self._open(load)
        except SightlineError as error:
            self._held[key] = Held(phase=Phase.FAILED, error=error.detail, attempt=load.attempt)
        except Exception:
            LOG.exception("%s %s cannot be loaded", *key)
            self._held[key] = Held(phase=Phase.FAILED, error=InternalError().detail, attempt=load.attempt)
        else:
            spec = self._detector.add(engine).spec
            self._held[key] = _warm(spec, attempt=load.attempt)
            LOG.info("%s %s is warm", *key)
        outcome = self._held[key].phase.value.lower()
        self._metrics.observe(table.DETECTOR_SWAP, (load.model, outcome), value=time.perf_counter() - start_s)

    async def _unload(self, key: VersionKey) -> None:
        await self._detector.remove(*key)
        self._held.pop(key, None)
        LOG.info("%s %s is unloaded", *key)


def _warm(spec: ModelSpec, *, attempt: int) -> Held:
    return Held(phase=Phase.WARM, attempt=attempt, card=card_of(spec))
