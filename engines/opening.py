"""Opens an engine for a model and warms it, so that what comes back is ready."""

import importlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

from app.core.errors import ModelError
from app.core.frame import Pixels
from app.core.model import ModelSpec
from app.core.ports import Engine
from app.vision.example import example_picture
from app.vision.layouts import identify
from engines.cuda.bindings import cuda_available
from engines.model_file import ModelFile, read_model_file
from engines.reference import ReferenceEngine
from engines.rungs import Rung, open_best
from engines.smaller import smaller_file, smaller_spec

LOG = logging.getLogger("sightline")
Kind: TypeAlias = Literal["auto", "cpu", "reference", "onnxruntime", "openvino", "tensorrt", "onnxruntime-cuda"]

_ON_GPU = ("tensorrt", "onnxruntime-cuda")
"""In the order of `gpu_rungs`."""
_PROBE_S = 0.5
"""How long each runtime is timed; two of them take the second that a start may cost."""
_MAX_STREAMS = 16
_SPARE_STREAMS = 2
"""While threads decode and read out, the cores have other pictures to compute on: 12 % more images/s than one stream
per core (one process, 2 cores, YOLOv8n-shaped, 640 px, 2026-11-23)."""
_CLASSES = {
    "openvino": ("engines.openvino_engine", "OpenVinoEngine"),
    "onnxruntime": ("engines.onnxruntime_engine", "OnnxRuntimeEngine"),
}


def read_spec(model: Path | None, *, kind: Kind = "auto") -> ModelSpec:
    """Return what the model is without opening an engine."""
    if _is_reference(model, kind):
        return ReferenceEngine().spec
    return _file(model, kind).spec


def open_engine(
    model: Path | None,
    *,
    kind: Kind = "auto",
    streams: int | None = None,
    threads_per_stream: int = 1,
    max_batch: int = 8,
    sha256: str | None = None,
    is_smaller: bool = False,
) -> Engine:
    """Return a warm engine for the model; without a model, the reference engine.

    `auto` takes the GPU where there is one, TensorRT before ONNX Runtime; else, as `cpu` does, it opens the model in
    every runtime there is, times each on the example and keeps the fastest. What stands in for a better one is
    told in the log. With `sha256` the file must have that one. `streams` None takes one per core, divided by
    `threads_per_stream`, and two more. With `is_smaller` the canvas is that of `engines.smaller`. A ModelError says
    what cannot be served.
    """
    streams = streams or min(available_cores() // threads_per_stream + _SPARE_STREAMS, _MAX_STREAMS)
    if _is_reference(model, kind):
        spec = smaller_spec(ReferenceEngine().spec) if is_smaller else ReferenceEngine().spec
        engine: Engine = ReferenceEngine(width_px=spec.input_width_px, height_px=spec.input_height_px, streams=streams)
    else:
        file = _file(model, kind)
        if sha256 is not None and sha256 != file.sha256:
            raise ModelError("the model file has another SHA-256 than was asked for")
        file = smaller_file(file) if is_smaller else file
        kinds = list(_CLASSES) if kind in {"auto", "cpu"} else [kind]
        layout = {"streams": streams, "threads_per_stream": threads_per_stream}
        on_cpu = Rung(name="the CPU", open=lambda: _fastest(file, kinds, **layout))
        on_gpu = _gpu_rungs(file, model, kind, max_batch=max_batch)
        engine = open_best(on_gpu if kind in _ON_GPU else [*on_gpu, on_cpu])
        _check_rows(engine)
    warm(engine, batch_sizes=_batch_sizes(max_batch))
    return engine


def warm(engine: Engine, batch_sizes: Sequence[int]) -> None:
    """Run the example at every batch size on every stream, so that no user's frame pays for a first time."""
    canvas = _example(engine.spec)
    with ThreadPoolExecutor(engine.streams, thread_name_prefix="warm") as threads:
        for size in batch_sizes:
            for rows in threads.map(engine.infer, [[canvas] * size] * engine.streams):
                if len(rows) != size:
                    raise ModelError(f"the model gives {len(rows)} rows for {size} pictures")


def available_cores() -> int:
    """Return how many cores this process may use, by its affinity and its control group's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(min(cores, int(quota) // int(period)), 1)
    except (OSError, ValueError):
        return cores


def _check_rows(engine: Engine) -> None:
    """Raise a ModelError if real rows are not laid out as promised by the file, whose declared sizes may be free."""
    spec = engine.spec
    rows = engine.infer([_example(spec)])
    identify(
        [(None, *rows.shape[1:])],
        input_shape=(None, 3, spec.input_height_px, spec.input_width_px),
        metadata={"head": spec.head},
        n_labels=len(spec.labels),
    )


def _example(spec: ModelSpec) -> Pixels:
    return example_picture(width_px=spec.input_width_px, height_px=spec.input_height_px)


def _gpu_rungs(file: ModelFile, model: Path | None, kind: Kind, *, max_batch: int) -> list[Rung]:
    """Return what is tried on the GPU; nothing where there is none, which takes a quarter of a millisecond to know."""
    if model is None or kind not in {"auto", *_ON_GPU} or (kind == "auto" and not cuda_available()):
        return []
    from engines.gpu_rungs import gpu_rungs  # what no CPU needs

    rungs = gpu_rungs(file, model, max_batch=max_batch)
    return rungs if kind == "auto" else [rungs[_ON_GPU.index(kind)]]


def _is_reference(model: Path | None, kind: Kind) -> bool:
    return kind == "reference" or (kind == "auto" and model is None)


def _file(model: Path | None, kind: Kind) -> ModelFile:
    if model is None:
        raise ModelError(f"the engine {kind} needs a model file")
    return read_model_file(model)


def _batch_sizes(max_batch: int) -> list[int]:
    """Return 1, 2, 4 … and `max_batch` itself."""
    return sorted({1 << power for power in range(max_batch.bit_length())} | {max_batch})


def _fastest(file: ModelFile, kinds: Sequence[str], *, streams: int, threads_per_stream: int) -> Engine:
    """Return the fastest runtime's engine; the others are closed. One that cannot take the model is passed over."""
    opened: dict[str, Engine] = {}
    refusal: ModelError | None = None
    for kind in kinds:
        try:
            opened[kind] = _class(kind)(file, streams=streams, threads_per_stream=threads_per_stream)
        except ModelError as error:
            refusal = error
    if not opened:
        raise refusal or ModelError("no inference runtime is installed")
    if len(opened) == 1:
        return next(iter(opened.values()))
    batch_s = {kind: _seconds_per_round(engine) for kind, engine in opened.items()}
    LOG.info("seconds for one picture per stream: %s", {kind: round(value, 4) for kind, value in batch_s.items()})
    fastest = min(batch_s, key=batch_s.__getitem__)
    for kind, engine in opened.items():
        if kind != fastest:
            engine.close()
    return opened[fastest]


def _class(kind: str) -> Callable[..., Engine]:
    """Return the engine's class, importing its runtime only now."""
    module, name = _CLASSES[kind]
    try:
        engine: Callable[..., Engine] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ModelError(f"{kind} is not installed") from error
    return engine


def _seconds_per_round(engine: Engine) -> float:
    """Return the median seconds for one picture on every stream at once."""
    canvas = _example(engine.spec)
    rounds_s: list[float] = []
    with ThreadPoolExecutor(engine.streams, thread_name_prefix="probe") as threads:
        list(threads.map(engine.infer, [[canvas]] * engine.streams))
        end_s = time.perf_counter() + _PROBE_S
        while time.perf_counter() < end_s or len(rounds_s) < 3:  # noqa: PLR2004 - a median needs three
            start_s = time.perf_counter()
            list(threads.map(engine.infer, [[canvas]] * engine.streams))
            rounds_s.append(time.perf_counter() - start_s)
    return sorted(rounds_s)[len(rounds_s) // 2]
