"""Builds a TensorRT plan from a model, for the GPU that it stands on; minutes of work, done once per key.

Precision is the graph's: TensorRT 11 networks are strongly typed, so a float16 plan comes of a float16 model.
The graph takes bytes: `engines.byte_input` puts the scaling in. Source: TensorRT 11.4, Python API.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from app.core.errors import InvalidParameterError, ModelError
from engines.byte_input import INPUT_NAME, declared_sides, with_byte_input
from engines.cuda.bindings import Bindings
from engines.graph_precision import graph_precision
from engines.model_file import ModelFile
from engines.plan_file import with_words
from engines.plan_key import PlanTarget, plan_key
from engines.profiles import DEFAULTS, BatchShape, Profile, clipped
from engines.tensorrt_log import TensorRtLog, process_log
from engines.tensorrt_progress import BuildProgress

if TYPE_CHECKING:
    import tensorrt as trt

LOG = logging.getLogger("sightline")
FLAGS: Final = {
    "VERSION_COMPATIBLE": "loads in later TensorRT versions too; slower; only with EXCLUDE_LEAN_RUNTIME",
    "EXCLUDE_LEAN_RUNTIME": "leaves the runtime for that out of the plan, so that it holds no host code",
    "NO_TF32": "float32 is multiplied in float32, not in TF32's ten bits of mantissa",
    "STRICT_NANS": "NaN is passed on as the graph says, where faster kernels may not",
    "SPARSE_WEIGHTS": "weights with two zeros in four are multiplied as such",
    "AMPERE_PLUS": "runs on every GPU from Ampere on; slower",
    "SAME_COMPUTE_CAPABILITY": "runs on every GPU of this compute capability",
}
"""What a build may be told; each is part of the plan's key."""
_COMPATIBILITY = frozenset({"AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"})
_MAX_REASONS = 3
_FP8_CAPABILITY: Final = (8, 9)
"""Ada; older GPUs have no FP8. Source: TensorRT 11.4, support matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """`flags` are names of FLAGS; `workspace_bytes` is what a layer may take while it is tuned and runs."""

    profiles: tuple[Profile, ...] = DEFAULTS
    workspace_bytes: int = 4096 << 20  # Source: MISSION 71; TensorRT's own default is all there is
    optimization_level: int = 3  # TensorRT's own default, of 0 to 5
    flags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := self.flags - FLAGS.keys():
            raise InvalidParameterError(f"no build flags: {', '.join(sorted(unknown))}")
        if len(self.flags & _COMPATIBILITY) > 1:
            raise InvalidParameterError("a plan is for later GPUs or for this compute capability, not both")
        if "VERSION_COMPATIBLE" in self.flags and "EXCLUDE_LEAN_RUNTIME" not in self.flags:
            raise InvalidParameterError("a plan with its own runtime holds host code, which is never run here")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlan:
    """`data` is the plan behind its words, under `key`; `timing_cache` makes the next build of its kind shorter."""

    key: str
    data: bytes
    timing_cache: bytes


def target_of(bindings: Bindings, *, index: int = 0) -> PlanTarget:
    """Return what plans of this machine are tied to; UnavailableError without a GPU. On the GPU's thread."""
    bindings.check()
    device = bindings.cuda.Device(index)
    major, minor = device.compute_capability()
    return PlanTarget(
        tensorrt=bindings.trt.__version__,
        compute_capability=(major, minor),
        device=device.name(),
        driver_cuda=bindings.cuda.get_driver_version(),
    )


def key_for(file: ModelFile, target: PlanTarget, options: BuildOptions) -> str:
    """Return the key of the plan that `build_plan` would make."""
    told = {*options.flags, f"workspace={options.workspace_bytes}", f"level={options.optimization_level}"}
    shapes = [tuple(_nhwc(shape) for shape in _trio(profile)) for profile in _profiles(file, options)]
    return plan_key(file.sha256, target, profiles=shapes, flags=told)  # type: ignore[arg-type]


def build_plan(
    file: ModelFile,
    *,
    bindings: Bindings,
    target: PlanTarget,
    options: BuildOptions,
    timing_cache: bytes = b"",
    progress: BuildProgress | None = None,
) -> BuiltPlan:
    """Return the plan; ModelError with TensorRT's last words where it makes none. On the GPU's thread."""
    bindings.check()
    if graph_precision(file.data) == "fp8" and target.compute_capability < _FP8_CAPABILITY:
        raise ModelError(f"{target.device} cannot compute in FP8, which begins with compute capability 8.9")
    profiles = _profiles(file, options)
    log = process_log(bindings.trt)
    log.clear()
    try:
        plan, timings = _Build(bindings.trt, log).run(file, profiles, options, timing_cache, progress)
    finally:
        if progress is not None:
            progress.close()
    key = key_for(file, target, options)
    return BuiltPlan(key=key, data=with_words(_words(file, key, target, profiles), plan), timing_cache=timings)


class _Build:
    """One build. The builder, its network and the parser's weights live together and end together."""

    def __init__(self, module: ModuleType, log: TensorRtLog) -> None:
        self._trt = module
        self._log = log
        self._builder: trt.Builder = module.Builder(log)

    def run(
        self,
        file: ModelFile,
        profiles: Sequence[Profile],
        options: BuildOptions,
        timing_cache: bytes,
        progress: BuildProgress | None,
    ) -> tuple[bytes, bytes]:
        """Return the plan and the timings."""
        network = self._log.made(self._builder.create_network(0), "network")
        parser: trt.OnnxParser = self._trt.OnnxParser(network, self._log)
        if not parser.parse(with_byte_input(file)):
            raise ModelError(f"TensorRT cannot take this model: {self._reasons(parser)}")
        self._keep_one_output(network, file.output_name)
        config = self._config(profiles, options)
        self._take_timings(config, timing_cache)
        if progress is not None:
            config.progress_monitor = progress  # type: ignore[assignment, unused-ignore]
        plan = self._log.made(self._builder.build_serialized_network(network, config), "plan")
        return bytes(plan), self._timings(config)

    def _reasons(self, parser: "trt.OnnxParser") -> str:
        errors = [parser.get_error(index) for index in range(min(parser.num_errors, _MAX_REASONS))]
        return "; ".join(f"{error.node_operator()}: {error.desc()}" for error in errors) or self._log.last_words()

    def _keep_one_output(self, network: "trt.INetworkDefinition", name: str) -> None:
        """Leave the boxes as the only output; ModelError where the network has no such output."""
        outputs = [self._log.made(network.get_output(index), "output") for index in range(network.num_outputs)]
        if name not in [output.name for output in outputs]:
            raise ModelError(f"TensorRT's network has no output {name}")
        for output in outputs:
            if output.name != name:
                network.unmark_output(output)

    def _config(self, profiles: Sequence[Profile], options: BuildOptions) -> "trt.IBuilderConfig":
        config = self._log.made(self._builder.create_builder_config(), "configuration")
        config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        config.builder_optimization_level = options.optimization_level
        for name in sorted(options.flags - _COMPATIBILITY - {"NO_TF32"}):
            config.set_flag(self._trt.BuilderFlag.__members__[name])
        if "NO_TF32" in options.flags:
            config.clear_flag(self._trt.BuilderFlag.TF32)
        for level in options.flags & _COMPATIBILITY:
            config.hardware_compatibility_level = self._trt.HardwareCompatibilityLevel.__members__[level]
        for profile in profiles:
            shapes = self._log.made(self._builder.create_optimization_profile(), "optimisation profile")
            shapes.set_shape(INPUT_NAME, *(_nhwc(shape) for shape in _trio(profile)))
            if config.add_optimization_profile(shapes) < 0:
                raise ModelError(f"TensorRT refuses an optimisation profile: {self._log.last_words()}")
        return config

    def _take_timings(self, config: "trt.IBuilderConfig", timing_cache: bytes) -> None:
        """Start from the timings that there are; those of another GPU or version are put aside."""
        cache = config.create_timing_cache(timing_cache)
        if cache is not None and config.set_timing_cache(cache, False):
            return
        LOG.warning("the timing cache does not fit this GPU or this TensorRT; timing anew")
        empty = self._log.made(config.create_timing_cache(b""), "timing cache")
        self._log.made(config.set_timing_cache(empty, False), "use of an empty timing cache")

    def _timings(self, config: "trt.IBuilderConfig") -> bytes:
        """Return the timings; none, and a word in the log, where they cannot be had: the plan is there all the same."""
        cache = config.get_timing_cache()
        content = None if cache is None else cache.serialize()
        if content is None:
            LOG.warning("TensorRT gives no timing cache back; the next build is as long as this one")
            return b""
        return bytes(content)


def _profiles(file: ModelFile, options: BuildOptions) -> list[Profile]:
    height_px, width_px = declared_sides(file)
    return clipped(options.profiles, batch=file.static_batch, height_px=height_px, width_px=width_px)


def _trio(profile: Profile) -> tuple[BatchShape, BatchShape, BatchShape]:
    return profile.smallest, profile.best, profile.largest


def _nhwc(shape: BatchShape) -> tuple[int, int, int, int]:
    return shape.batch, shape.height_px, shape.width_px, 3


def _words(file: ModelFile, key: str, target: PlanTarget, profiles: Sequence[Profile]) -> Mapping[str, Any]:
    return {
        "key": key,
        "onnx_sha256": file.sha256,
        "name": file.spec.name,
        "version": file.spec.version,
        "head": str(file.spec.head),
        "precision": graph_precision(file.data),
        "tensorrt": target.tensorrt,
        "compute_capability": list(target.compute_capability),
        "device": target.device,
        "driver_cuda": target.driver_cuda,
        "profiles": [[list(_nhwc(shape)) for shape in _trio(profile)] for profile in profiles],
    }
