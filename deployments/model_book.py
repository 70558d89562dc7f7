"""The registry of models as an actor that every replica shares, its state kept in the cluster's records."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import ray

from app.core.errors import SnapshotError, UnavailableError
from app.pipeline.model_records import Directive, Held, ModelStatus, RegistryParameters, VersionKey, VersionStatus
from app.pipeline.model_registry import ModelRegistry
from app.pipeline.version_traffic import Seen
from deployments.cluster_records import ClusterRecords

LOG = logging.getLogger("sightline")
_TICK_S: Final = 0.5
_WATCH_EVERY: Final = 2
_IDLE_S: Final = 600.0
"""After so long without a word from anybody this process ends; who asks again starts another from the records."""

T = TypeVar("T")
View: TypeAlias = dict[str, Any]


class ModelBook:
    """One ModelRegistry; all calls on one event loop. What is answered to an operator has been recorded before.

    A book that follows a lost one goes on from the records. Of two that are alive, the one opened first ends itself.
    """

    def __init__(self, namespace: str, parameters: RegistryParameters) -> None:
        self._records = ClusterRecords(namespace)
        self._name = secrets.token_hex(8)
        self._records.register(self._name)
        self._parameters = parameters
        self._registry = ModelRegistry(parameters)
        if (text := self._records.kept()) is not None:
            try:
                self._registry.restore(json.loads(text))
            except (SnapshotError, ValueError):
                LOG.exception("the records of the models cannot be read; their routes begin anew")
        self._recorded = self._registry.revision
        self._recording = asyncio.Lock()
        self._changed = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._asked_s = time.monotonic()

    async def seed(self, model: str, version: str, *, parameters: RegistryParameters) -> None:
        """Let that version answer everything of a model that has no routes yet; `parameters` hold from now on."""
        if parameters != self._parameters:
            before, self._parameters = self._registry.snapshot(), parameters
            self._registry = ModelRegistry(parameters)
            self._registry.restore(before)
        self._registry.seed(model, version)
        await self._record()

    async def key(self) -> bytes:
        """32 random bytes, the same for ever: what users' buckets are made with."""
        return await asyncio.to_thread(self._records.secret)

    async def report(self, replica: str, held: Mapping[VersionKey, Held], seen: tuple[Seen, ...] = ()) -> Directive:
        """A replica's heartbeat, with what it has seen since the last; what it has to do."""
        self._begin()
        for one in seen:
            self._registry.observe(
                one.model, one.version, one.traffic, epoch=one.epoch, agreement=one.agreement, compared=one.compared
            )
        self._registry.report(replica, held)
        if self._registry.revision != self._recorded:
            await self._record()
        return self._registry.directive(replica)

    async def view(self, after_revision: int, *, wait_s: float) -> View | None:
        """What ingresses route by, as soon as there is anything newer; None when there is not within `wait_s`.

        Nothing is told that is not recorded: a book that follows this one could give its epoch to another table.
        """
        self._begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    found = self._registry.view(after_revision)
                    if found is not None and found["revision"] == self._recorded:
                        return found
                    await self._changed.wait()
        return None

    async def describe(self) -> tuple[ModelStatus, ...]:
        """Every model as it stands."""
        return self._registry.describe()

    async def put_version(self, model: str, version: str, **what: Any) -> VersionStatus:
        """See ModelRegistry."""
        return await self._change(lambda: self._registry.put_version(model, version, **what))

    async def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        """See ModelRegistry."""
        return await self._change(lambda: self._registry.put_routes(model, document, if_match=if_match))

    async def _change(self, change: Callable[[], T]) -> T:
        """What `change` gives, once it is recorded; UnavailableError where another book is in charge."""
        self._begin()
        async with self._recording:
            await self._check_charge()
            answer = change()
        await self._record()
        return answer

    async def _record(self) -> None:
        """Write down what has changed since the last time, and tell it."""
        async with self._recording:
            revision = self._registry.revision
            if revision != self._recorded:
                await self._check_charge()
                await asyncio.to_thread(self._records.keep, json.dumps(self._registry.snapshot()))
                self._recorded = revision
                self._wake()

    async def _check_charge(self) -> None:
        if await asyncio.to_thread(self._records.registered) != self._name:
            raise UnavailableError("another registry of models is in charge")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _begin(self) -> None:
        self._asked_s = time.monotonic()
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        """Do what is due, record it, and end this process when another book has been opened."""
        rounds = 0
        while True:
            self._registry.tick()
            with contextlib.suppress(Exception):  # GCS is away: it is tried again
                await self._record()
            if time.monotonic() - self._asked_s > _IDLE_S:
                ray.kill(ray.get_runtime_context().current_actor)
            rounds += 1
            if rounds % _WATCH_EVERY == 0:
                with contextlib.suppress(Exception):
                    if await asyncio.to_thread(self._records.registered) != self._name:
                        os._exit(1)
            await asyncio.sleep(_TICK_S)
