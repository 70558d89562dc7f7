"""Opens versions of the store, and lets none answer that fails its golden check."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from app.pipeline.guarded_engine import GuardedEngine
from engines.golden import golden_check
from engines.golden_file import read_golden
from engines.ladder import EngineLadder
from engines.model_file import ModelFile
from engines.store import ModelStore, StoredVersion

PATIENCE_S: Final = 20.0
"""How long a version that is loaded beside others leaves the cores to them."""


class _Rows:
    """A guarded engine as a plain one: for who does not care which of its engines answers."""

    def __init__(self, guarded: GuardedEngine) -> None:
        self._guarded = guarded

    @property
    def spec(self) -> ModelSpec:
        return self._guarded.spec

    @property
    def streams(self) -> int:
        return self._guarded.streams

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        return self._guarded.infer(pixels).rows

    def close(self) -> None:
        self._guarded.close()


def _closed(opening: asyncio.Future[GuardedEngine]) -> None:
    """Give back what came when nobody waited any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOpening:
    """Versions of `store`, opened as `ladder` says."""

    store: ModelStore
    ladder: EngineLadder

    async def open(
        self, model: str, version: str, *, sha256: str | None = None, patience_s: float = PATIENCE_S
    ) -> GuardedEngine:
        """Return a warm engine that computes sense, without holding up the event loop.

        `sha256` is what the model file must have; for `patience_s` it leaves the cores to others. ModelError says what
        is wrong, NotFoundError that there is none.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(self._open, model, version, sha256, patience_s))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_closed)
            raise

    def _open(self, model: str, version: str, sha256: str | None, patience_s: float) -> GuardedEngine:
        stored, file = self._checked(model, version, sha256)
        expected = read_golden(file.beside)
        engine = self.ladder.open(stored.path, sha256=file.sha256, patience_s=patience_s)
        try:
            golden_check(_Rows(engine), expected)
        except BaseException:
            engine.close()
            raise
        return engine

    def _checked(self, model: str, version: str, sha256: str | None) -> tuple[StoredVersion, ModelFile]:
        """Where the version lies, and every file of it, checked."""
        stored = self.store.find(model, version)
        file = self.store.read(stored)
        if sha256 is not None and sha256 != file.sha256:
            raise ModelError("the model file has another SHA-256 than was asked for")
        return stored, file
