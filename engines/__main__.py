"""`python -m engines [MODEL]`: times every runtime on this machine in several layouts of streams and threads."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.core.errors import ModelError
from app.core.ports import Engine
from app.vision.example import example_picture
from engines.model_file import ModelFile, read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.openvino_engine import OpenVinoEngine

_LAYOUTS = ((1, 1), (1, 2), (2, 1))
"""Streams and threads per stream."""
_TURN_S = 2.0
_ROUNDS = 3


def pictures_per_s(engine: Engine, *, callers: int, duration_s: float) -> float:
    """Return the throughput of so many callers that each send one picture after the other."""
    canvas = example_picture(width_px=engine.spec.input_width_px, height_px=engine.spec.input_height_px)
    end_s = time.perf_counter() + duration_s

    def call(_caller: int) -> int:
        count = 0
        while time.perf_counter() < end_s:
            engine.infer([canvas])
            count += 1
        return count

    start_s = time.perf_counter()
    with ThreadPoolExecutor(callers) as threads:
        count = sum(threads.map(call, range(callers)))
    return count / (time.perf_counter() - start_s)


def _engines(file: ModelFile) -> Iterator[tuple[str, Engine]]:
    """Yield every engine in every layout, each with its name."""
    exact: Callable[..., Engine] = lambda *args, **layout: OpenVinoEngine(*args, is_exact=True, **layout)  # noqa: E731
    kinds = {"openvino": OpenVinoEngine, "openvino float32": exact, "onnxruntime": OnnxRuntimeEngine}
    for name, open_it in kinds.items():
        for streams, threads in _LAYOUTS:
            title = f"{name}, {streams} x {threads}"
            yield title, open_it(file, streams=streams, threads_per_stream=threads)


def _random_model(folder: Path) -> Path:
    """Write the YOLOv8n-shaped random network and return its path."""
    from engines.random_yolo import main as write_random_yolo

    path = folder / "yolov8n-shaped.onnx"
    write_random_yolo(path)
    return path


def _file(model: Path | None) -> ModelFile:
    """Return the model asked for, or the random one."""
    if model is not None:
        return read_model_file(model)
    with tempfile.TemporaryDirectory() as folder:
        return read_model_file(_random_model(Path(folder)))


def main() -> int:
    """Print pictures per second, median of rounds in which all take turns: neighbours' load meets all alike."""
    parser = argparse.ArgumentParser(prog="python -m engines", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, help="an ONNX file; default: a YOLOv8n-shaped random network")
    try:
        engines = dict(_engines(_file(parser.parse_args().model)))
    except ModelError as error:
        print(error.detail, file=sys.stderr)
        return 1
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            rates[name].append(pictures_per_s(engine, callers=engine.streams, duration_s=_TURN_S))
    for name, values in rates.items():
        rate = sorted(values)[len(values) // 2]
        print(f"{name:28} {rate:6.1f} pictures/s  {1000 * engines[name].streams / rate:6.1f} ms each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
