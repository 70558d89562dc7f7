"""How many threads a pool gets: more while they bring throughput, none that only bring waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FEWEST: Final = 2
"""With a single thread, one picture of a hundred megapixels would hold up all the others."""
MOST: Final = 64
"""Source: MISSION.md row 8, the largest pool of its table."""
MIN_GAIN: Final = 0.15
"""Throughput that twice the threads have to add. Even hyper-threads, the least useful of cores, add 20 % and more; two
readings of the same pool differ by less."""
MAX_RISE: Final = 0.10
"""Rise of the 99th percentile from which a pool that gained nothing counts as too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReading:
    """What a pool of `workers` threads did under load; `p99_s` is the time of one image in its thread."""

    workers: int
    images_per_s: float
    p99_s: float


def best_reading(readings: Sequence[PoolReading]) -> PoolReading:
    """The smallest pool that none beyond it beats by `MIN_GAIN`; ValueError without readings.

    The readings, in any order, are walked from the smallest pool up, and no further than where P99 rises without
    throughput: what comes behind that is not believed. Ties go to the smaller pool.
    """
    return _walk(readings)[0]


def next_workers(readings: Sequence[PoolReading]) -> int | None:
    """The pool to measure next, twice the largest so far; None when the search is over."""
    if not readings:
        return FEWEST
    _, is_over = _walk(readings)
    doubled = 2 * max(reading.workers for reading in readings)
    return None if is_over or doubled > MOST else doubled


def _walk(readings: Sequence[PoolReading]) -> tuple[PoolReading, bool]:
    """The best reading, and whether a larger pool has shown that it only makes images wait."""
    if not readings:
        raise ValueError("a pool is chosen from at least one reading")
    best, *larger = sorted(readings, key=lambda reading: reading.workers)
    for reading in larger:
        if reading.images_per_s >= best.images_per_s * (1 + MIN_GAIN):
            best = reading
        elif reading.p99_s > best.p99_s * (1 + MAX_RISE):
            return best, True
    return best, False
