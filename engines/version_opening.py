"""Opens versions of the store, each in a process of its own, and lets none answer that fails its golden check."""

import asyncio
from dataclasses import dataclass, field

from app.core.errors import ModelError
from engines.golden import GoldenObject, golden_check
from engines.golden_file import read_golden
from engines.hosted import HostedEngine, HostLimits, open_hosted
from engines.opening import Kind
from engines.store import ModelStore, StoredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOpening:
    """How a version of `store` is opened; the options are those of `engines.opening.open_engine`."""

    store: ModelStore
    kind: Kind = "auto"
    streams: int | None = None
    max_batch: int = 8
    limits: HostLimits = field(default_factory=HostLimits)

    async def open(self, model: str, version: str, *, sha256: str | None = None) -> HostedEngine:
        """Return a warm engine that computes sense, without holding up the event loop.

        `sha256` is what the model file must have. ModelError says what is wrong, NotFoundError that there is none.
        """
        stored, expected = await asyncio.to_thread(self._checked, model, version, sha256)
        engine = await open_hosted(
            stored.path, limits=self.limits, kind=self.kind, streams=self.streams, max_batch=self.max_batch
        )
        try:
            await asyncio.to_thread(golden_check, engine, expected)
        except BaseException:
            await asyncio.to_thread(engine.close)
            raise
        return engine

    def _checked(
        self, model: str, version: str, sha256: str | None
    ) -> tuple[StoredVersion, tuple[GoldenObject, ...] | None]:
        """Where the version lies, and what its golden outputs are, after every file of it has been checked."""
        stored = self.store.find(model, version)
        file = self.store.read(stored)
        if sha256 is not None and sha256 != file.sha256:
            raise ModelError("the model file has another SHA-256 than was asked for")
        return stored, read_golden(file.beside)
