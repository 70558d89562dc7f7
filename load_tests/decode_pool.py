"""Scenario `decode-pool`: how many threads should decode stills, and 100,000 decodes admitted at once.

Sixty-four callers keep the pool busy, each asking again as soon as it is answered; `p99_s` is what the slowest of them
wait, queue and decoding together, and `decode_p99_s` the decoding alone. Too few threads leave cores idle and the queue
long; too many take the cores from each other, so that the mean stays and the slowest wait longer: row 8's U. Every
size runs in a process of its own, several times over, the best turn counting. `cores_had` is what the machine gave: the
left arm of the U shows only where it is more than one.

    python -m load_tests.decode_pool [--rounds 3] [--images 256] [--admitted 100000]
"""

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import cv2

from app.core.frame import EncodedFrame, FrameRef
from app.media.still import decode_still
from app.pipeline.decode_tuner import tuned_workers
from app.policy.workers import PoolReading, best_reading
from load_tests.admission import admission, memory_bytes, percentile
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.evidence import publish

MODEL_PX: Final = 640
WORKERS: Final = (1, 2, 4, 8, 16, 32, 64)
CALLERS: Final = 64
MORE_IS_BETTER: Final = ("images_per_s", "cores_had")
SMALL: Final = Camera(width_px=160, height_px=90, fps=15.0)
LARGE: Final = Camera(width_px=1920, height_px=1080, fps=15.0)


def bodies(camera: Camera, *, count: int) -> list[bytes]:
    """One street per seed, as a JPEG."""
    shots = [next(iter(render(Scene(seed=seed), camera, frames=1))) for seed in range(1, count + 1)]
    return [encode_jpeg(shot.rgb, quality=80) for shot in shots]


def elsewhere(work: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """The value of the call in a new process, so that memory and threads of one turn are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def read_curve_point(jpegs: list[bytes], *, workers: int, images: int) -> dict[str, float]:
    """One turn of one pool size."""
    cv2.setNumThreads(1)
    waited_s: list[float] = []
    decoded_s: list[float] = []
    slots = threading.Semaphore(CALLERS)

    def decode(index: int, asked_s: float) -> None:
        start_s = time.perf_counter()
        encoded = EncodedFrame(data=jpegs[index % len(jpegs)], ref=FrameRef(stream_id="pool", seq=index))
        decode_still(encoded, model_width_px=MODEL_PX, model_height_px=MODEL_PX)
        now_s = time.perf_counter()
        decoded_s.append(now_s - start_s)
        waited_s.append(now_s - asked_s)

    before_bytes, cpu_s, start_s = memory_bytes("VmRSS"), time.process_time(), time.perf_counter()
    futures: list[Future[None]] = []
    with ThreadPoolExecutor(workers) as pool:
        for index in range(images):
            slots.acquire()
            futures.append(pool.submit(decode, index, time.perf_counter()))
            futures[-1].add_done_callback(lambda _: slots.release())
    elapsed_s, spent_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    for future in futures:
        future.result()
    return {
        "images_per_s": images / elapsed_s,
        "mean_s": statistics.mean(waited_s),
        "p99_s": percentile(waited_s, 0.99),
        "decode_mean_s": statistics.mean(decoded_s),
        "decode_p99_s": percentile(decoded_s, 0.99),
        "cpu_s_per_image": spent_s / images,
        "cores_had": spent_s / elapsed_s,
        "rss_growth_mib": (memory_bytes("VmHWM") - before_bytes) / 2**20,
    }


def curve(jpegs: list[bytes], *, rounds: int, images: int) -> dict[int, dict[str, float]]:
    """Each size's best turn per figure; the sizes alternate, since what else runs here changes with time."""
    turns: dict[int, list[dict[str, float]]] = {workers: [] for workers in WORKERS}
    for index in range(rounds):
        for workers in WORKERS if index % 2 == 0 else reversed(WORKERS):
            turns[workers].append(elsewhere(read_curve_point, jpegs, workers=workers, images=images))
    return {
        workers: {name: (max if name in MORE_IS_BETTER else min)(one[name] for one in several) for name in several[0]}
        for workers, several in turns.items()
    }


def main() -> int:
    """Measure, publish; 1 when a frame was lost or answered twice, or the largest pool serves its slowest no worse."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--admitted", type=int, default=100_000)
    arguments = parser.parse_args()
    points = curve(bodies(LARGE, count=4), rounds=arguments.rounds, images=arguments.images)
    for workers, point in points.items():
        print(f"{workers:3} " + "  ".join(f"{name} {value:.4g}" for name, value in point.items()), file=sys.stderr)
    chosen = best_reading(
        [
            PoolReading(workers=workers, images_per_s=point["images_per_s"], p99_s=point["decode_p99_s"])
            for workers, point in points.items()
        ]
    ).workers
    tuned = elsewhere(tuned_workers, model_width_px=MODEL_PX, model_height_px=MODEL_PX)
    small = bodies(SMALL, count=1)[0]
    admitted = elsewhere(admission, small, count=arguments.admitted, workers=tuned)
    figures = {
        "workers_tuned_at_start": float(tuned),
        "workers_by_this_curve": float(chosen),
        "tuned_throughput_of_best": points[tuned]["images_per_s"] / max(one["images_per_s"] for one in points.values()),
        "p99_at_64_over_tuned": points[64]["p99_s"] / points[tuned]["p99_s"],
        "decode_p99_at_64_over_tuned": points[64]["decode_p99_s"] / points[tuned]["decode_p99_s"],
        **admitted,
    }
    details = {str(workers): {name: round(value, 5) for name, value in one.items()} for workers, one in points.items()}
    publish("decode-pool", figures, **vars(arguments), curve=details, small_bytes=len(small), cores=os.cpu_count())
    wrong = sum(admitted[f"admitted_{name}"] for name in ("lost", "twice", "swapped", "decoded_twice"))
    return 1 if wrong or figures["decode_p99_at_64_over_tuned"] <= 1 else 0


if __name__ == "__main__":
    sys.exit(main())
