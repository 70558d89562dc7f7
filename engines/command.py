"""`sightline engine`: builds a plan for this GPU, says what a model or a plan is, times this machine's engines."""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from app.core.errors import ModelError, SightlineError
from engines.bench import open_all, timings
from engines.cuda.bindings import Bindings, load_bindings
from engines.cuda.device import Device
from engines.gpu_rungs import machine_key, plans_beside
from engines.graph_precision import graph_precision
from engines.model_file import read_model_file
from engines.onnx_header import TensorInfo, read_header
from engines.plan_file import shown, split_plan
from engines.profiles import DEFAULTS, SIZES, WIDE
from engines.tensorrt_build import FLAGS, BuildOptions, build_plan, target_of
from engines.tensorrt_progress import new_progress

_PROFILES = {"default": DEFAULTS, "wide": (WIDE,), "sizes": SIZES}
_MAX_BYTES = 2**34
_MAX_LINE = 1000
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 16: "bfloat16"}
"""TensorProto.DataType. Source: onnx/onnx.proto."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `sightline engine …`."""
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="a TensorRT plan for this machine's GPU, kept beside the model")
    build.add_argument("model", type=Path, metavar="MODEL.onnx")
    build.add_argument("--out", type=Path, metavar="PLAN", help="a copy of the plan, with what it is in front")
    build.add_argument("--profiles", choices=sorted(_PROFILES), default="default", help="batches and sizes to tune for")
    build.add_argument("--workspace-mib", type=int, default=4096, metavar="N", help="GPU memory that a layer may take")
    build.add_argument("--flag", action="append", choices=sorted(FLAGS), default=[], help="may be given several times")
    build.add_argument("--timing-cache", type=Path, metavar="FILE", help="read if it is there, written afterwards")
    build.add_argument("--clean", action="store_true", help="then remove all other plans that are kept for this model")
    inspect = actions.add_parser("inspect", help="what an ONNX file or a plan says of itself")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="one object instead of lines")
    bench = actions.add_parser("bench", help="pictures per second of every engine that this machine has")
    bench.add_argument("model", type=Path, metavar="MODEL.onnx")
    bench.add_argument("--batches", type=_batches, default=(1, 2, 4, 8), metavar="N,N", help="batch sizes")
    bench.add_argument("--seconds", type=float, default=1.0, help="of each of three turns")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0; errors come as SightlineError or OSError. Data on stdout, words on stderr."""
    match arguments.action:
        case "build":
            return build_command(arguments, bindings=load_bindings())
        case "inspect":
            return _inspect(arguments.file, as_json=arguments.json)
        case _:
            return _bench(arguments.model, arguments.batches, turn_s=arguments.seconds)


def build_command(arguments: argparse.Namespace, *, bindings: Bindings) -> int:
    """Build the plan and keep it where `open_engine` looks for it."""
    file = read_model_file(arguments.model)
    options = BuildOptions(
        profiles=_PROFILES[arguments.profiles],
        workspace_bytes=arguments.workspace_mib << 20,
        flags=frozenset(arguments.flag),
    )
    timing_cache: Path | None = arguments.timing_cache
    timings_before = timing_cache.read_bytes() if timing_cache is not None and timing_cache.exists() else b""
    progress = new_progress(bindings.trt)
    device = Device(bindings)
    try:
        built = device.call(
            lambda: build_plan(
                file,
                bindings=bindings,
                target=target_of(bindings),
                options=options,
                timing_cache=timings_before,
                progress=progress,
            )
        )
    finally:
        device.close(lambda: None)
    plans = plans_beside(arguments.model)
    plans.put(built.key, built.data)
    if arguments.clean:
        _say(f"plans removed: {plans.clear(keep=[built.key])}")
    if arguments.out is not None:
        arguments.out.write_bytes(built.data)
    if timing_cache is not None and built.timing_cache:
        timing_cache.write_bytes(built.timing_cache)
    if options != BuildOptions():
        _say("the service looks for a plan with the default profiles, workspace and flags; this one differs")
    _print(built.key)
    return 0


def _inspect(path: Path, *, as_json: bool) -> int:
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path.name} is larger than {_MAX_BYTES} bytes")
    data = path.read_bytes()
    try:
        found = _of_onnx(path, data)
    except ModelError as refusal:
        found = _of_plan(data, refusal)
    if as_json:
        _print(json.dumps(found))
        return 0
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        for line in values:
            _print(f"{shown(name):20} {shown(line, longest=_MAX_LINE)}")
    return 0


def _of_onnx(path: Path, data: bytes) -> dict[str, Any]:
    """Return what an ONNX file and its card say; ModelError when it is none, or none that is served."""
    header = read_header(data)
    found: dict[str, Any] = {
        "kind": "onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "inputs": [_words(tensor) for tensor in header.inputs],
        "outputs": [_words(tensor) for tensor in header.outputs],
        "precision": graph_precision(data),
    }
    try:
        file = read_model_file(path)
    except ModelError as error:
        return {**found, "not served": error.detail}
    spec = file.spec
    found |= {
        "name": f"{spec.name} {spec.version}",
        "head": str(spec.head),
        "labels": len(spec.labels),
        "canvas": f"{spec.input_width_px} x {spec.input_height_px} px",
        "precision in card": file.precision,
    }
    try:
        found["plan key here"] = machine_key(file, load_bindings(), BuildOptions())
    except SightlineError as error:
        found["plan key here"] = f"none: {error.detail}"
    return found


def _of_plan(data: bytes, refusal: ModelError) -> dict[str, Any]:
    """Return what stands before a plan; the refusal for a file that has nothing there."""
    words, plan = split_plan(data)
    if not words:
        raise ModelError(f"{refusal.detail}, nor a plan that says what it is; only TensorRT could read it")
    facts: Mapping[str, Any] = {name: value for name, value in words.items() if name != "profiles"}
    profiles = words.get("profiles")
    return {
        "kind": "plan",
        "sha256": hashlib.sha256(plan).hexdigest(),
        "bytes": len(plan),
        **facts,
        "profiles": profiles if isinstance(profiles, list) else [],
    }


def _bench(model: Path, batches: tuple[int, ...], *, turn_s: float) -> int:
    engines = open_all(model, max_batch=max(batches), refused=lambda kind, why: _say(f"{kind}: {why}"))
    if not engines:
        raise ModelError("no engine of this machine runs this model")
    _print(f"{'engine':14} {'batch':>5} {'streams':>7} {'pictures/s':>11} {'ms per call':>12}")
    with ExitStack() as stack:
        for engine in engines.values():
            stack.enter_context(closing(engine))
        for timing in timings(engines, batches, turn_s=turn_s):
            figures = f"{timing.pictures_per_s:11.1f} {1000 * timing.call_s:12.1f}"
            _print(f"{timing.kind:14} {timing.batch:5} {timing.streams:7} {figures}")
    return 0


def _words(tensor: TensorInfo) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.name} ({sizes}) {_TYPES.get(tensor.element_type, f'type {tensor.element_type}')}"


def _batches(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split(","))
    if not sizes or not all(1 <= size <= 64 for size in sizes):  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be sizes from 1 to 64")
    return sizes


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
