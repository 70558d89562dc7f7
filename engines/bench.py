"""Times every engine that this machine has, by batch size, in turns: neighbours' load meets all alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import SightlineError
from app.core.ports import Engine
from app.vision.example import example_picture
from engines.opening import Kind, open_engine

KINDS: tuple[Kind, ...] = ("tensorrt", "onnxruntime", "openvino")
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One engine at one batch size, all of its streams at work: pictures in a second, seconds of one call."""

    kind: str
    batch: int
    streams: int
    pictures_per_s: float
    call_s: float


def open_all(model: Path, *, max_batch: int, refused: Callable[[str, str], None]) -> dict[str, Engine]:
    """Return the engines that open; `refused` is told each other one and why."""
    engines: dict[str, Engine] = {}
    for kind in KINDS:
        try:
            engines[kind] = open_engine(model, kind=kind, max_batch=max_batch)
        except SightlineError as error:
            refused(kind, error.detail)
    return engines


def timings(engines: dict[str, Engine], batches: Sequence[int], *, turn_s: float) -> Iterator[Timing]:
    """Yield the median of a few turns for each engine and batch size."""
    for batch in batches:
        rates: dict[str, list[float]] = {kind: [] for kind in engines}
        for _ in range(_ROUNDS):
            for kind, engine in engines.items():
                rates[kind].append(pictures_per_s(engine, batch=batch, duration_s=turn_s))
        for kind, values in rates.items():
            rate = sorted(values)[len(values) // 2]
            streams = engines[kind].streams
            yield Timing(kind=kind, batch=batch, streams=streams, pictures_per_s=rate, call_s=batch * streams / rate)


def pictures_per_s(engine: Engine, *, batch: int, duration_s: float) -> float:
    """Return the throughput of one caller per stream, each of which sends one batch after the other."""
    spec = engine.spec
    canvases = [example_picture(width_px=spec.input_width_px, height_px=spec.input_height_px)] * batch
    start_s = time.perf_counter()

    def call(_caller: int) -> int:
        count = 0
        while count == 0 or time.perf_counter() < start_s + duration_s:
            count += len(engine.infer(canvases))
        return count

    with ThreadPoolExecutor(engine.streams) as callers:
        count = sum(callers.map(call, range(engine.streams)))
    return count / (time.perf_counter() - start_s)
