"""Scenario `decode`: from JPEG bytes to the model's canvas, ours against the usual cv2 path, one thread.

The usual path is `cv2.imdecode` at full size, then what Ultralytics 8 does before inference, restated from its
behaviour: linear resize, border of 114, BGR to RGB, NCHW, contiguous, float32, divided by 255. Ours ends at the uint8
canvas, which is what the engines take; the `_float` ratios add that last step to our side as well. Time is the thread's
own processor time, since the machine is shared; the two sides alternate.

The process does nothing but decode, as a worker does: scenes are drawn in another. In such a process glibc may give
every full-size picture of the usual path fresh pages and take them back, a third of its time; the `_warm_heap` ratios
are measured after one large block was freed, from when on glibc keeps them.

    python -m load_tests.decode [--rounds 30] [--quality 80]
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.core.frame import EncodedFrame, FrameRef, ModelInput
from app.media.still import decode_still
from app.vision.letterbox import fit
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.evidence import alternate, publish

MODEL_PX: Final = 640
SIZES: Final = {"1080p": (1920, 1080), "4k": (3840, 2160)}
TARGETS: Final = {"1080p": 3.0, "4k": 6.0}
SEEDS: Final = (1, 2, 3, 4)
OTHER_QUALITIES: Final = (30, 50, 90)
_LARGE_BYTES: Final = 65_536
_BATCH: Final = np.empty((1, 3, MODEL_PX, MODEL_PX), np.float32)


def bodies_by_quality(width_px: int, height_px: int, *, qualities: tuple[int, ...]) -> dict[int, list[bytes]]:
    """One street camera frame per seed, as JPEG at every quality."""
    camera = Camera(width_px=width_px, height_px=height_px, fps=15.0)
    images = [next(iter(render(Scene(seed=seed), camera, frames=1))).rgb for seed in SEEDS]
    return {quality: [encode_jpeg(rgb, quality=quality) for rgb in images] for quality in qualities}


def drawn_elsewhere(name: str, *, qualities: tuple[int, ...]) -> dict[int, list[bytes]]:
    """The same, from a process of its own, so that this one's heap stays a decoder's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(bodies_by_quality, *SIZES[name], qualities=qualities).result()


def warm_heap() -> None:
    """Free one block just below glibc's largest threshold (32 MiB): from now on it keeps blocks of that size."""
    np.ones(31 << 20, np.uint8)


def ours(body: bytes) -> ModelInput:
    """Decode at the scale the model needs, then letterbox."""
    encoded = EncodedFrame(data=memoryview(body), ref=FrameRef(stream_id="decode", seq=0))
    frame = decode_still(encoded, model_width_px=MODEL_PX, model_height_px=MODEL_PX)
    return fit(frame, width_px=MODEL_PX, height_px=MODEL_PX)


def ours_float(body: bytes) -> NDArray[np.float32]:
    """The same, normalised into a batch that is reused, as an engine would."""
    for channel, plane in enumerate(cv2.split(ours(body).canvases[0])):
        np.multiply(plane, np.float32(1 / 255), out=_BATCH[0, channel])
    return _BATCH


def usual(body: bytes) -> NDArray[np.float32]:
    """cv2 at full size, then the usual preparation."""
    bgr = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    height_px, width_px = bgr.shape[:2]
    scale = min(MODEL_PX / height_px, MODEL_PX / width_px)
    fitted_px = round(width_px * scale), round(height_px * scale)
    pad_x_px, pad_y_px = (MODEL_PX - fitted_px[0]) / 2, (MODEL_PX - fitted_px[1]) / 2
    bgr = cv2.resize(bgr, fitted_px, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(pad_y_px - 0.1), round(pad_y_px + 0.1)
    left, right = round(pad_x_px - 0.1), round(pad_x_px + 0.1)
    bgr = cv2.copyMakeBorder(bgr, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    batch = np.ascontiguousarray(np.stack([bgr])[..., ::-1].transpose(0, 3, 1, 2))
    values = batch.astype(np.float32)
    values /= 255
    return values


def entropy_only(body: bytes) -> object:
    """Decode at 1/8: little but the entropy decoding, which every baseline JPEG decoder has to do in full."""
    return simplejpeg.decode_jpeg(body, "RGB", min_width=1)


def processor_s(work: Callable[[bytes], object], bodies: list[bytes]) -> float:
    """Processor seconds of this thread for one body, mean over one turn."""
    start_s = time.thread_time()
    for body in bodies:
        work(body)
    return (time.thread_time() - start_s) / len(bodies)


def ratio(work: Callable[[bytes], object], bodies: list[bytes], *, rounds: int) -> tuple[float, float, float]:
    """How many times dearer the usual path is than `work`, and the median processor seconds of both."""
    median, usual_s, work_s = alternate(
        lambda: processor_s(usual, bodies), lambda: processor_s(work, bodies), rounds=rounds
    )
    return median, statistics.median(usual_s), statistics.median(work_s)


def copies(body: bytes) -> tuple[float, int]:
    """Copies per image and the bytes they move: what ours holds at its peak beside the picture and the canvas.

    Those two hold new pixels, scaled by the decoder and by the letterbox; anything else would be a copy of one of them
    or of the body. Below 64 kB it is bookkeeping.
    """
    encoded = EncodedFrame(data=memoryview(body), ref=FrameRef(stream_id="decode", seq=0))
    frame = decode_still(encoded, model_width_px=MODEL_PX, model_height_px=MODEL_PX)
    made_bytes = frame.rgb.nbytes + fit(frame, width_px=MODEL_PX, height_px=MODEL_PX).canvases[0].nbytes
    del frame
    tracemalloc.start()
    try:
        ours(body)
        extra_bytes = tracemalloc.get_traced_memory()[1] - made_bytes
    finally:
        tracemalloc.stop()
    if extra_bytes < -_LARGE_BYTES:
        raise RuntimeError("tracemalloc does not see the pictures, so copies cannot be counted")
    copied_bytes = extra_bytes if extra_bytes >= _LARGE_BYTES else 0
    return copied_bytes / min(len(body), made_bytes), copied_bytes


def measure(name: str, bodies: list[bytes], *, rounds: int) -> dict[str, float]:
    """The figures of one size."""
    ours_ratio, usual_s, ours_s = ratio(ours, bodies, rounds=rounds)
    return {
        f"decode_{name}_ratio": ours_ratio,
        f"decode_{name}_ratio_float": ratio(ours_float, bodies, rounds=rounds)[0],
        f"decode_{name}_ratio_of_entropy_decoding_alone": ratio(entropy_only, bodies, rounds=rounds)[0],
        f"usual_{name}_s": usual_s,
        f"ours_{name}_s": ours_s,
        f"body_{name}_bytes": statistics.mean(len(body) for body in bodies),
        f"difference_{name}_levels": float(np.abs(ours_float(bodies[0]) - usual(bodies[0])).mean() * 255),
    }


def main() -> int:
    """Measure, publish, and return 1 below a target."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quality", type=int, default=80)
    arguments = parser.parse_args()
    rounds, quality = arguments.rounds, arguments.quality
    cv2.setNumThreads(1)
    bodies = {name: drawn_elsewhere(name, qualities=(quality, *OTHER_QUALITIES)) for name in SIZES}
    figures: dict[str, float] = {}
    for name in SIZES:
        figures |= measure(name, bodies[name][quality], rounds=rounds)
    others = {
        name: {
            f"quality {other}, {len(bodies[name][other][0])} bytes": round(
                ratio(ours, bodies[name][other], rounds=max(3, rounds // 4))[0], 2
            )
            for other in OTHER_QUALITIES
        }
        for name in SIZES
    }
    figures["copies_per_image"], figures["copied_bytes_1080p"] = copies(bodies["1080p"][quality][0])
    warm_heap()
    for name in SIZES:
        figures[f"decode_{name}_ratio_warm_heap"] = ratio(ours, bodies[name][quality], rounds=rounds)[0]
    missed = [name for name, target in TARGETS.items() if figures[f"decode_{name}_ratio"] < target]
    for name in missed:
        print(f"decode_{name}_ratio is below its target of {TARGETS[name]}", file=sys.stderr)
    publish("decode", figures, **vars(arguments), model_px=MODEL_PX, targets=TARGETS, missed=missed, others=others)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
