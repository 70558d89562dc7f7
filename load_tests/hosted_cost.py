"""What a process of its own costs a model: `python -m load_tests.hosted_cost`, one call at a time, in turns.

The tiny network computes next to nothing and has the rows of a YOLOv8 with 80 classes, 2.8 MB a picture at 640 px, so
that the difference between the two engines is the way there and back. The other one has YOLOv8n's arithmetic.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import onnx

from app.core.model import Head
from app.core.ports import Engine
from app.vision.example import example_picture
from engines.hosted import open_hosted_engine
from engines.opening import Kind, open_engine
from engines.random_yolo import yolov8n_shaped
from engines.tiny_yolo import tiny_yolo

_TURN_CALLS = 8
_NETWORKS = {
    "tiny": lambda size_px: tiny_yolo(Head.YOLOV8, size_px=size_px, n_labels=80),
    "YOLOv8n-shaped": lambda size_px: yolov8n_shaped(size_px=size_px),
}


def main() -> None:
    """Print two lines a network and size: the tenth percentile, which neighbours disturb least, and the median."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.hosted_cost", description=__doc__)
    parser.add_argument("--kind", default="openvino", choices=["openvino", "onnxruntime"])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each network and size")
    arguments = parser.parse_args()
    for network, make in _NETWORKS.items():
        for size_px in (640, 416):
            with _both(make(size_px), arguments.kind) as (here, there):
                calls_s = _in_turns(here, there, duration_s=arguments.seconds)
            for name, percent in (("10 %", 10), ("median", 50)):
                here_s, there_s = (float(np.percentile(seconds, percent)) for seconds in calls_s)
                print(
                    f"{network:15} {size_px} px, {name:6} {here_s * 1e3:7.3f} ms here, {there_s * 1e3:7.3f} ms hosted, "
                    f"{(there_s - here_s) * 1e3:+.3f} ms, ratio {there_s / here_s:.3f}"
                )
    print(f"{arguments.kind}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


@contextmanager
def _both(model: onnx.ModelProto, kind: Kind) -> Iterator[tuple[Engine, Engine]]:
    """The same model in this process and in its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        opening = {"kind": kind, "streams": 1, "max_batch": 1}
        with closing(open_engine(path, **opening)) as here, closing(open_hosted_engine(path, **opening)) as there:
            yield here, there


def _in_turns(here: Engine, there: Engine, *, duration_s: float) -> tuple[list[float], list[float]]:
    """The seconds of each call of both; a neighbour's load meets both alike."""
    canvas = example_picture(width_px=here.spec.input_width_px, height_px=here.spec.input_height_px)
    calls_s: tuple[list[float], list[float]] = ([], [])
    end_s = time.perf_counter() + duration_s
    while time.perf_counter() < end_s:
        for engine, seconds in zip((here, there), calls_s, strict=True):
            for _ in range(_TURN_CALLS):
                begun_s = time.perf_counter()
                engine.infer([canvas])
                seconds.append(time.perf_counter() - begun_s)
    return calls_s


if __name__ == "__main__":
    main()
