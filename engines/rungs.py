"""Ways to run one model, best first: the first that opens serves, and says what failed above it."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, SightlineError
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput

LOG = logging.getLogger("sightline")
failures: Counter[str] = Counter()
"""How often each rung could not be had in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to run a model."""

    name: str
    open: Callable[[], Engine]


class DegradedEngine:
    """An engine that stands in for a better one; `degraded` says in words what failed."""

    def __init__(self, engine: Engine, degraded: str) -> None:
        self.engine = engine
        self.degraded = degraded

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.engine.spec

    @property
    def streams(self) -> int:
        """How many concurrent calls make it fastest."""
        return self.engine.streams

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas."""
        return self.engine.infer(pixels)

    def close(self) -> None:
        """Give the memory back."""
        self.engine.close()


def open_best(rungs: Sequence[Rung]) -> Engine:
    """Return the first rung's engine that opens, saying what failed above it; the last one's error where none does."""
    reasons: list[str] = []
    for rung in rungs:
        try:
            engine = rung.open()
        except SightlineError as error:
            failures[rung.name] += 1
            LOG.warning("%s cannot be had: %s", rung.name, error.detail)
            reasons.append(f"{rung.name}: {error.detail}")
            if rung is rungs[-1]:
                raise
        else:
            return DegradedEngine(engine, "; ".join(reasons)) if reasons else engine
    raise ModelError("no inference runtime is installed")
