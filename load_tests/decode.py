"""Scenario `decode`: from JPEG bytes to the model's canvas, ours against the usual cv2 path, one thread.

The usual path is `cv2.imdecode` at full size, then what Ultralytics 8 does before inference, restated from its behaviour:
linear resize, border of 114, BGR to RGB, NCHW, contiguous, float32, divided by 255. Ours ends at the uint8 canvas, which
is what the engines take; the `_float` ratios add that last step to our side as well.

    python -m load_tests.decode [--rounds 30] [--quality 80]
"""

import argparse
import sys
import tracemalloc
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.frame import EncodedFrame, FrameRef, ModelInput
from app.media.probe import probe
from app.media.still import decode_still
from app.vision.letterbox import fit
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.evidence import alternate, publish, seconds

MODEL_PX: Final = 640
SIZES: Final = {"1080p": (1920, 1080), "4k": (3840, 2160)}
TARGETS: Final = {"1080p": 3.0, "4k": 6.0}
SEEDS: Final = (1, 2, 3, 4)
_LARGE_BYTES: Final = 65_536


def bodies(width_px: int, height_px: int, *, quality: int) -> list[bytes]:
    """One street camera frame per seed, as JPEG."""
    camera = Camera(width_px=width_px, height_px=height_px, fps=15.0)
    return [encode_jpeg(next(iter(render(Scene(seed=seed), camera, frames=1))).rgb, quality=quality) for seed in SEEDS]


def ours(body: bytes) -> ModelInput:
    """Decode at the scale the model needs, then letterbox."""
    encoded = EncodedFrame(data=memoryview(body), ref=FrameRef(stream_id="decode", seq=0))
    frame = decode_still(encoded, model_width_px=MODEL_PX, model_height_px=MODEL_PX)
    return fit(frame, width_px=MODEL_PX, height_px=MODEL_PX)


def ours_float(body: bytes) -> NDArray[np.float32]:
    """The same, normalised outside the engine."""
    canvas = ours(body).canvases[0]
    return np.multiply(canvas.transpose(2, 0, 1)[None], np.float32(1 / 255), dtype=np.float32, order="C")


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


def large_allocations(work: Callable[[bytes], object], body: bytes) -> list[int]:
    """Sizes in bytes of what `work` keeps and allocates at once, above 64 kB, largest first."""
    work(body)
    tracemalloc.start()
    try:
        kept = work(body)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        sizes = [trace.size for trace in tracemalloc.take_snapshot().traces if trace.size >= _LARGE_BYTES]
    finally:
        tracemalloc.stop()
    del kept
    return [peak_bytes, *sorted(sizes, reverse=True)]
