"""Ways to run one model, best first: the first that opens serves, and the log says what failed above it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core.errors import ModelError, SightlineError
from app.core.ports import Engine

LOG = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to run a model."""

    name: str
    open: Callable[[], Engine]


def open_best(rungs: Sequence[Rung]) -> Engine:
    """Return the first rung's engine that opens; the last one's error where none does."""
    for rung in rungs:
        try:
            return rung.open()
        except SightlineError as error:
            LOG.warning("%s cannot be had: %s", rung.name, error.detail)
            if rung is rungs[-1]:
                raise
    raise ModelError("no inference runtime is installed")
