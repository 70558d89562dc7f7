"""The stage that finds objects: versions of models side by side, each behind a queue of its own."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextvars import Context
from dataclasses import replace
from typing import Final, TypeVar

from app.core.errors import UnavailableError
from app.core.frame import Detections, EncodedFrame, Frame, ModelInput
from app.core.metrics import SILENT, Metrics
from app.core.outcome import Dropped, End, Failed, Outcome
from app.core.ports import Engine
from app.core.routing import Route, Urgency
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.serving import Prepare, Serving, ServingParameters
from app.pipeline.version_traffic import VersionTraffic

F = TypeVar("F", EncodedFrame, Frame, ModelInput)
VersionKey = tuple[str, str]
_SHADOWED: Final = 2
"""Frames in a shadow, for each of its streams, from which on it sees no more."""
_LAST: Final = Urgency(priority=0)


class Detector:
    """Holds versions of models and sends each frame to the one that its route names.

    A frame without a route goes to the version that was added first, and so does one whose version is gone by now, if
    it fits the canvas: its answer says which version that was.
    """

    def __init__(
        self, engine: Engine | GuardedEngine, *, parameters: ServingParameters, metrics: Metrics = SILENT
    ) -> None:
        self.traffic = VersionTraffic(slow_s=parameters.slow_s)
        self._parameters = parameters
        self._metrics = metrics
        self._shadowing: set[asyncio.Task[None]] = set()
        self._versions: dict[VersionKey, Serving] = {}
        self.first = self.add(engine)

    @property
    def versions(self) -> dict[VersionKey, Serving]:
        """Those that are held now."""
        return dict(self._versions)

    @property
    def streams(self) -> int:
        """How many batches the first version works on at a time."""
        return self.first.streams

    @property
    def is_broken(self) -> bool:
        """Whether the engine of some version is beyond repair in this process."""
        return any(serving.engine.is_broken for serving in self._versions.values())

    def probe(self) -> None:
        """Try the better engines of versions that are answered by a worse one; blocks."""
        for serving in self.versions.values():
            serving.engine.probe()

    def add(self, engine: Engine | GuardedEngine) -> Serving:
        """Hold one version more."""
        spec = engine.spec
        serving = self._versions[spec.name, spec.version] = Serving(
            engine, parameters=self._parameters, metrics=self._metrics
        )
        return serving

    async def remove(self, model: str, version: str) -> None:
        """Hold it no longer; comes back when its memory is free."""
        serving = self._versions.pop((model, version), None)
        if serving is None:
            return
        if serving is self.first and self._versions:
            self.first = next(iter(self._versions.values()))
        await asyncio.to_thread(serving.close)

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """One outcome per item, in order; drops and failures pass through."""
        return await self.detect_prepared(inputs, prepare=_as_it_is)

    async def detect_prepared(self, items: Sequence[Outcome[F]], *, prepare: Prepare[F]) -> list[Outcome[Detections]]:
        """Detect on what `prepare` makes of each item, on the thread that then feeds the engine."""
        outcomes: list[Outcome[Detections]] = [End()] * len(items)
        by_route: dict[Route | None, list[tuple[int, F]]] = defaultdict(list)
        for index, item in enumerate(items):
            if isinstance(item, Dropped | Failed | End):
                outcomes[index] = item
            else:
                by_route[item.route].append((index, item))
        found = await asyncio.gather(
            *(self._along(route, [item for _, item in placed], prepare) for route, placed in by_route.items())
        )
        for placed, answers in zip(by_route.values(), found, strict=True):
            for (index, _), outcome in zip(placed, answers, strict=True):
                outcomes[index] = outcome
        return outcomes

    async def _along(self, route: Route | None, frames: list[F], prepare: Prepare[F]) -> list[Outcome[Detections]]:
        serving, taken = self._taken(route)
        if serving is None:
            gone = UnavailableError("this version of the model is not here any more")
            return [Failed(ref=frame.ref, error=gone) for frame in frames]
        found = await serving.detect(frames, prepare=prepare)
        outcomes = [replace(one, route=taken) if isinstance(one, Detections) else one for one in found]
        if taken is not None:
            self.traffic.note(taken, outcomes)
            self._show_to_shadow(taken, frames, outcomes, prepare)
        return outcomes

    def _show_to_shadow(
        self, route: Route, frames: list[F], outcomes: list[Outcome[Detections]], prepare: Prepare[F]
    ) -> None:
        """Let the shadow see the frames that were answered, as far as it keeps up; nobody waits for it."""
        shadow = self._versions.get((route.model, route.shadow or ""))
        if shadow is None or shadow.in_flight >= _SHADOWED * shadow.streams:
            return
        spec = shadow.spec
        if (spec.input_width_px, spec.input_height_px) != (route.width_px, route.height_px):
            return  # it would need canvases of its own
        answered = [
            (frame, one)
            for frame, one in zip(frames, outcomes, strict=True)
            if isinstance(one, Detections) and one.degraded is None  # one that sees less is no yardstick
        ]
        task = asyncio.create_task(self._shadowed(shadow, route, answered, prepare), context=Context())
        self._shadowing.add(task)
        task.add_done_callback(self._shadowing.discard)

    async def _shadowed(
        self, shadow: Serving, route: Route, answered: list[tuple[F, Detections]], prepare: Prepare[F]
    ) -> None:
        frames = [replace(frame, urgency=_LAST) for frame, _ in answered]
        for (_, truth), answer in zip(answered, await shadow.detect(frames, prepare=prepare), strict=True):
            self.traffic.compare(route, shadow.spec.version, truth=truth, answer=answer)

    def _taken(self, route: Route | None) -> tuple[Serving | None, Route | None]:
        """Where frames of that route go in truth."""
        if route is None:
            return self.first, None
        serving = self._versions.get((route.model, route.version))
        if serving is not None:
            return serving, route
        spec = self.first.spec
        is_fit = (spec.name, spec.input_width_px, spec.input_height_px) == (
            route.model,
            route.width_px,
            route.height_px,
        )
        return (self.first, replace(route, version=spec.version)) if is_fit else (None, route)

    def close(self) -> None:
        """Finish what runs and give all memory back."""
        for serving in self._versions.values():
            serving.close()
        self._versions.clear()


def _as_it_is(item: ModelInput) -> ModelInput:
    return item
