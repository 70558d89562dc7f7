"""How many waiting frames the next micro-batch takes, and when the door closes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """`max_batch` frames a batch, `max_in_flight` batches on their way, `max_waiting` frames before the door closes.

    It closes before where an answer without a deadline is expected later than `max_wait_s` from now (`policy.door`).
    """

    max_batch: int = 8
    max_in_flight: int = 3
    max_waiting: int = 64
    max_wait_s: float = 15.0


def frames_to_take(*, waiting: int, in_flight: int, limits: BatchLimits) -> int:
    """Frames of the next batch; 0 while every slot is taken.

    A batch leaves as soon as a slot is free and never waits to grow: it is small when the machine is idle, and full
    when it is busy, because frames gather while the slots are taken.
    """
    if in_flight >= limits.max_in_flight:
        return 0
    return min(waiting, limits.max_batch)


def is_admitted(*, waiting: int, limits: BatchLimits) -> bool:
    """Whether one more frame may wait."""
    return waiting < limits.max_waiting


def retry_after_s(*, waiting: int, frames_per_s: float) -> float:
    """Seconds until those who wait now will have been served, between 1 and 60."""
    if frames_per_s <= 0:
        return 1.0
    return min(60.0, max(1.0, waiting / frames_per_s))
