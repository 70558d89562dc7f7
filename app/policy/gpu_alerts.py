"""Which of the GPU's numbers are alarming, how much, and what follows. Source: MISSION row 29."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_MEMORY: Final = 0.92
MOST_LOAD_FAILURES: Final = 5
MOST_SHAPE_MISMATCHES: Final = 10
"""Above these. Source of the three: MISSION row 29."""


class Level(StrEnum):
    """How urgent: P0 wakes somebody, P2 waits for the morning."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"


class Action(StrEnum):
    """What follows by itself."""

    USE_ONNX_RUNTIME = "use_onnx_runtime"
    RESTART_REPLICA = "restart_replica"
    FREEZE_BATCH = "freeze_batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One number beyond its mark."""

    level: Level
    action: Action
    reason: str


def alerts(*, memory_ratio: float = 0.0, load_failures: int = 0, shape_mismatches: int = 0) -> tuple[Alert, ...]:
    """The alerts that hold, most urgent first; `memory_ratio` is used / total, the others count from the start."""
    rules = (
        (
            load_failures > MOST_LOAD_FAILURES,
            Level.P0,
            Action.USE_ONNX_RUNTIME,
            f"the engine could not be loaded {load_failures} times",
        ),
        (memory_ratio > MOST_MEMORY, Level.P1, Action.RESTART_REPLICA, f"the GPU's memory is {memory_ratio:.0%} full"),
        (
            shape_mismatches > MOST_SHAPE_MISMATCHES,
            Level.P2,
            Action.FREEZE_BATCH,
            f"{shape_mismatches} inputs did not have the model's shape",
        ),
    )
    return tuple(Alert(level=level, action=action, reason=reason) for holds, level, action, reason in rules if holds)
