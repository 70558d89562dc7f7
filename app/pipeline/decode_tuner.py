"""Finds out at start how many threads decode stills fastest on this machine, in less than a second."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from app.core.frame import EncodedFrame, FrameRef
from app.media.still import decode_still
from app.policy.workers import PoolReading, best_reading, next_workers
from app.vision.example import example_jpeg

LOG = logging.getLogger("sightline")
BUDGET_S: Final = 0.6
"""After this long the best pool so far is taken; a turn that has begun is finished, and the example drawn before."""
_ROUNDS: Final = 3
_IMAGES: Final = 16
_IMAGES_PER_WORKER: Final = 4
_EXAMPLE_PX: Final = (1920, 1080)


@cache
def tuned_workers(*, model_width_px: int, model_height_px: int) -> int:
    """The threads for a pool of the real still decoder; measured once per process, then remembered."""
    width_px, height_px = _EXAMPLE_PX
    encoded = EncodedFrame(
        data=example_jpeg(width_px=width_px, height_px=height_px), ref=FrameRef(stream_id="decode-tuner", seq=0)
    )

    def decode() -> None:
        decode_still(encoded, model_width_px=model_width_px, model_height_px=model_height_px)

    start_s = time.perf_counter()
    readings = readings_within(BUDGET_S, lambda workers: read_pool(decode, workers=workers))
    chosen = best_reading(readings)
    curve = ", ".join(f"{one.workers}: {one.images_per_s:.0f}/s p99 {1000 * one.p99_s:.0f} ms" for one in readings)
    LOG.info("decode pool: %d threads, tuned in %.2f s (%s)", chosen.workers, time.perf_counter() - start_s, curve)
    return chosen.workers


def readings_within(
    budget_s: float, measure: Callable[[int], PoolReading], *, clock: Callable[[], float] = time.perf_counter
) -> list[PoolReading]:
    """The readings that the policy asked for, smallest pool first; at least one.

    Each new pool is measured in turn with the best one so far, and of several turns the best counts: whatever else runs
    on the machine can only take away, and so it takes from both alike. A pool that the time did not suffice for is left
    out, since one lucky turn proves nothing.
    """
    deadline_s = clock() + budget_s
    readings: list[PoolReading] = []
    while (workers := next_workers(readings)) is not None:
        known = {reading.workers: reading for reading in readings}
        rivals = [best_reading(readings).workers, workers] if readings else [workers]
        for _ in range(_ROUNDS):
            for count in rivals:
                if known and clock() >= deadline_s:
                    return readings or list(known.values())
                known[count] = _better(known.get(count), measure(count))
        readings = list(known.values())
    return readings


def read_pool(work: Callable[[], object], *, workers: int) -> PoolReading:
    """One turn: a pool of `workers` threads with more images waiting than it can hold."""

    def timed(_image: int) -> float:
        start_s = time.perf_counter()
        work()
        return time.perf_counter() - start_s

    images = max(_IMAGES, _IMAGES_PER_WORKER * workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode-tuner") as pool:
        start_s = time.perf_counter()
        spent_s = sorted(pool.map(timed, range(images)))
        elapsed_s = time.perf_counter() - start_s
    return PoolReading(workers=workers, images_per_s=images / elapsed_s, p99_s=spent_s[int(0.99 * images)])


def _better(one: PoolReading | None, other: PoolReading) -> PoolReading:
    """Both turns of one pool in one reading."""
    if one is None:
        return other
    return PoolReading(
        workers=other.workers,
        images_per_s=max(one.images_per_s, other.images_per_s),
        p99_s=min(one.p99_s, other.p99_s),
    )
