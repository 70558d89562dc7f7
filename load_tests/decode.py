"""Scenario `decode`: from JPEG bytes to the model's canvas, ours against the usual cv2 path, one thread.

The usual path is `cv2.imdecode` at full size, then what Ultralytics 8 does before inference, restated from its
behaviour: linear resize, border of 114, BGR to RGB, NCHW, contiguous, float32, divided by 255. Ours ends at the uint8
canvas, which is what the engines take; the `_float` ratios add that last step to our side as well. Time is the thread's
own processor time, since the machine is shared; the two sides alternate.

Each size is measured in a process that does nothing else, as in a worker; scenes are drawn in another. In such a one
glibc may give every full-size picture of the usual path fresh pages and take them back, a third of its time; the
`_warm_heap` ratios are measured after one large block was freed, from when on glibc keeps them.

The figures are for the bundled model's canvas and bodies of the size the house measures with, 77 kB at 1080p: the ratio
falls with the size of the body, since both sides have to undo its entropy coding, and with the size of the canvas. The
details hold the table over both.

    python -m load_tests.decode [--rounds 30]
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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

CANVASES_PX: Final = (416, 640)
"""The bundled model's canvas, which the figures are for, and the usual larger one."""
BODY_BYTES: Final = {"1080p": 77_000, "4k": 308_000}
"""The same bits per pixel at both sizes. Source of the first: the body of facts/costs.md."""
SIZES: Final = {"1080p": (1920, 1080), "4k": (3840, 2160)}
TARGETS: Final = {"1080p": 3.0, "4k": 6.0}
SEEDS: Final = (1, 2, 3, 4)
OTHER_QUALITIES: Final = (30, 50, 80, 90)
_LARGE_BYTES: Final = 65_536


def bodies_by_quality(width_px: int, height_px: int, *, body_bytes: int) -> dict[int, list[bytes]]:
    """One street camera frame per seed as JPEG, first at the quality that gives `body_bytes`, then at the others."""
    camera = Camera(width_px=width_px, height_px=height_px, fps=15.0)
    images = [next(iter(render(Scene(seed=seed), camera, frames=1))).rgb for seed in SEEDS]
    most_bytes = body_bytes * len(images)
    fitting = [q for q in range(10, 60) if sum(len(encode_jpeg(rgb, quality=q)) for rgb in images) <= most_bytes]
    qualities = (max(fitting), *OTHER_QUALITIES)
    return {quality: [encode_jpeg(rgb, quality=quality) for rgb in images] for quality in qualities}


def drawn_elsewhere(name: str) -> dict[int, list[bytes]]:
    """The same, from a process of its own, so that this one's heap stays a decoder's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(bodies_by_quality, *SIZES[name], body_bytes=BODY_BYTES[name]).result()


def warm_heap() -> None:
    """Free one block just below glibc's largest threshold (32 MiB): from now on it keeps blocks of that size."""
    np.ones(31 << 20, np.uint8)


@dataclass(frozen=True, slots=True)
class Paths:
    """Both ways from a body to a canvas of `model_px` squared."""

    model_px: int

    def ours(self, body: bytes) -> ModelInput:
        """Decode at the scale the model needs, then letterbox."""
        encoded = EncodedFrame(data=memoryview(body), ref=FrameRef(stream_id="decode", seq=0))
        frame = decode_still(encoded, model_width_px=self.model_px, model_height_px=self.model_px)
        return fit(frame, width_px=self.model_px, height_px=self.model_px)

    def ours_float(self, body: bytes) -> NDArray[np.float32]:
        """The same, normalised as the usual path does."""
        batch = np.empty((1, 3, self.model_px, self.model_px), np.float32)
        for channel, plane in enumerate(cv2.split(self.ours(body).canvases[0])):
            np.multiply(plane, np.float32(1 / 255), out=batch[0, channel])
        return batch

    def usual(self, body: bytes) -> NDArray[np.float32]:
        """cv2 at full size, then the usual preparation."""
        bgr = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        height_px, width_px = bgr.shape[:2]
        scale = min(self.model_px / height_px, self.model_px / width_px)
        fitted_px = round(width_px * scale), round(height_px * scale)
        pad_x_px, pad_y_px = (self.model_px - fitted_px[0]) / 2, (self.model_px - fitted_px[1]) / 2
        bgr = cv2.resize(bgr, fitted_px, interpolation=cv2.INTER_LINEAR)
        top, bottom = round(pad_y_px - 0.1), round(pad_y_px + 0.1)
        left, right = round(pad_x_px - 0.1), round(pad_x_px + 0.1)
        bgr = cv2.copyMakeBorder(bgr, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        batch = np.ascontiguousarray(np.stack([bgr])[..., ::-1].transpose(0, 3, 1, 2))
        values = batch.astype(np.float32)
        values /= 255
        return values

    def ratio(self, work: Callable[[bytes], object], bodies: list[bytes], *, rounds: int) -> tuple[float, float, float]:
        """How many times dearer the usual path is than `work`, and the median processor seconds of both."""
        median, usual_s, work_s = alternate(
            lambda: processor_s(self.usual, bodies), lambda: processor_s(work, bodies), rounds=rounds
        )
        return median, statistics.median(usual_s), statistics.median(work_s)


def entropy_only(body: bytes) -> object:
    """Decode at 1/8: little but the entropy decoding, which every baseline JPEG decoder has to do in full."""
    return simplejpeg.decode_jpeg(body, "RGB", min_width=1)


def processor_s(work: Callable[[bytes], object], bodies: list[bytes]) -> float:
    """Processor seconds of this thread for one body, mean over one turn."""
    start_s = time.thread_time()
    for body in bodies:
        work(body)
    return (time.thread_time() - start_s) / len(bodies)


def copies(paths: Paths, body: bytes) -> tuple[float, int]:
    """Copies per image and the bytes they move: what ours holds at its peak beside the picture and the canvas.

    Those two hold new pixels, scaled by the decoder and by the letterbox; anything else would be a copy of one of them
    or of the body. Below 64 kB it is bookkeeping.
    """
    encoded = EncodedFrame(data=memoryview(body), ref=FrameRef(stream_id="decode", seq=0))
    frame = decode_still(encoded, model_width_px=paths.model_px, model_height_px=paths.model_px)
    made_bytes = frame.rgb.nbytes + fit(frame, width_px=paths.model_px, height_px=paths.model_px).canvases[0].nbytes
    del frame
    tracemalloc.start()
    try:
        paths.ours(body)
        extra_bytes = tracemalloc.get_traced_memory()[1] - made_bytes
    finally:
        tracemalloc.stop()
    if extra_bytes < -_LARGE_BYTES:
        raise RuntimeError("tracemalloc does not see the pictures, so copies cannot be counted")
    copied_bytes = extra_bytes if extra_bytes >= _LARGE_BYTES else 0
    return copied_bytes / min(len(body), made_bytes), copied_bytes


def measure(paths: Paths, name: str, bodies: list[bytes], *, rounds: int) -> dict[str, float]:
    """The figures of one size."""
    ours_ratio, usual_s, ours_s = paths.ratio(paths.ours, bodies, rounds=rounds)
    difference = np.abs(paths.ours_float(bodies[0]) - paths.usual(bodies[0])).mean() * 255
    return {
        f"decode_{name}_ratio": ours_ratio,
        f"decode_{name}_ratio_float": paths.ratio(paths.ours_float, bodies, rounds=rounds)[0],
        f"decode_{name}_ratio_of_entropy_decoding_alone": paths.ratio(entropy_only, bodies, rounds=rounds)[0],
        f"usual_{name}_s": usual_s,
        f"ours_{name}_s": ours_s,
        f"body_{name}_bytes": statistics.mean(len(body) for body in bodies),
        f"difference_{name}_levels": float(difference),
    }


def table(bodies: dict[int, list[bytes]], *, rounds: int) -> dict[str, dict[str, float]]:
    """The ratio for every canvas and size of body."""
    return {
        f"canvas {model_px}": {
            f"{len(some[0])} bytes": round(Paths(model_px).ratio(Paths(model_px).ours, some, rounds=rounds)[0], 2)
            for some in bodies.values()
        }
        for model_px in CANVASES_PX
    }


def main() -> int:
    """Measure, publish, and return 1 below a target."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    paths = Paths(CANVASES_PX[0])
    bodies = {name: drawn_elsewhere(name) for name in SIZES}
    main_bodies = {name: next(iter(some.values())) for name, some in bodies.items()}
    figures: dict[str, float] = {}
    for name in SIZES:
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
        ) as worker:
            figures |= worker.submit(measure, paths, name, main_bodies[name], rounds=rounds).result()
    tables = {name: table(bodies[name], rounds=max(3, rounds // 4)) for name in SIZES}
    figures["copies_per_image"], figures["copied_bytes_1080p"] = copies(paths, main_bodies["1080p"][0])
    warm_heap()
    for name in SIZES:
        figures[f"decode_{name}_ratio_warm_heap"] = paths.ratio(paths.ours, main_bodies[name], rounds=rounds)[0]
    missed = [name for name, target in TARGETS.items() if figures[f"decode_{name}_ratio"] < target]
    for name in missed:
        print(f"decode_{name}_ratio is below its target of {TARGETS[name]}", file=sys.stderr)
    publish("decode", figures, rounds=rounds, canvas_px=paths.model_px, targets=TARGETS, missed=missed, tables=tables)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
