"""TensorRT 11's module over the simulated GPU: every call can be told to give None or False once.

Its classes are held to the real ones' signatures by `tests/config/test_gpu_fakes.py`. The "network" answers each
picture with rows of its mean value. `TRT` is the library; a test takes a new one with `install`. What starts with an
underscore is the simulation's own.
"""

import json
import threading
import weakref
from typing import Any

import numpy as np

from engines.onnx_header import read_header
from tests import fake_pycuda
from tests.fake_tensorrt_names import (
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel,
    ILogger,
    IOutputAllocator,
    IProgressMonitor,
    MemoryPoolType,
    TensorIOMode,
)

__all__ = ["IOutputAllocator", "IProgressMonitor"]
__version__ = "11.4.0.106"
ROW = (4, 6)


class _Library:
    """What is refused by name or by number, what lives and who freed it."""

    def __init__(self) -> None:
        self.refusals: set[str] = set()
        self.granted = 0
        self.fails_at = 0
        self.live: weakref.WeakSet[object] = weakref.WeakSet()
        self.freed_by: set[int] = set()
        self.output_is_free = False
        self.scratch_bytes = 3_000_000
        self.missing_shapes: list[str] = []
        self.max_output_bytes = 1 << 20
        self.objects_without_gpu = 0
        self.built: list[dict[str, Any]] = []

    def grants(self, name: str, logger: Any = None) -> bool:
        self.granted += 1
        if name not in self.refusals and self.granted != self.fails_at:
            return True
        self.refusals.discard(name)
        if logger is not None:
            words = f"{name} was refused"
            logger.log(ILogger.Severity.ERROR, words)
        return False


TRT = _Library()


def install() -> _Library:
    """Return a new library, which the module talks to from now on."""
    global TRT  # noqa: PLW0603 - a library is a global thing
    TRT = _Library()
    return TRT


class _Owned:
    """An object of the library's, of which nothing may be left over, freed on the thread that made it."""

    def _born(self) -> None:
        self._home = threading.get_ident()
        TRT.live.add(self)
        TRT.objects_without_gpu += not fake_pycuda.GPU.is_there
        weakref.finalize(self, _freed, TRT.freed_by)


def _freed(freed_by: set[int]) -> None:
    freed_by.add(threading.get_ident())


class IHostMemory(_Owned):
    def __init__(self, data: bytes) -> None:
        self._born()
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


class ITimingCache(_Owned):
    def __init__(self, data: bytes) -> None:
        self._born()
        self._data = data

    def serialize(self) -> IHostMemory | None:
        return IHostMemory(self._data + b"+1") if TRT.grants("serialize") else None


class IOptimizationProfile(_Owned):
    def __init__(self) -> None:
        self._born()
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - TensorRT's names
        self._shapes[input] = [list(min), list(opt), list(max)]


class IBuilderConfig(_Owned):
    progress_monitor: Any = None
    hardware_compatibility_level = HardwareCompatibilityLevel.NONE
    builder_optimization_level = 3

    def __init__(self, logger: Any) -> None:
        self._born()
        self._logger = logger
        self._profiles: list[IOptimizationProfile] = []
        self._flags = {BuilderFlag.TF32}
        self._workspace_bytes = 0
        self._cache: ITimingCache | None = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self._workspace_bytes = pool_size

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        if not TRT.grants("add_optimization_profile", self._logger):
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if serialized_timing_cache == b"corrupt" or not TRT.grants("create_timing_cache", self._logger):
            return None
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's signature
        assert not ignore_mismatch
        if cache._data == b"foreign" or not TRT.grants("set_timing_cache", self._logger):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache if TRT.grants("get_timing_cache") else None


class ITensor(_Owned):
    def __init__(self, name: str) -> None:
        self._born()
        self.name = name


class INetworkDefinition(_Owned):
    def __init__(self) -> None:
        self._born()
        self._inputs: list[Any] = []
        self._outputs: list[ITensor] = []

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> ITensor | None:
        return self._outputs[index] if TRT.grants("get_output") else None

    def unmark_output(self, tensor: Any) -> None:
        self._outputs.remove(tensor)


class ParserError(_Owned):
    def __init__(self) -> None:
        self._born()

    def desc(self) -> str:
        return "no importer for this operator"

    def node_operator(self) -> str:
        return "Strange"


class OnnxParser(_Owned):
    def __init__(self, network: Any, logger: Any) -> None:
        self._born()
        self._network, self._logger = network, logger
        self._n_errors = 0

    def parse(self, model: bytes, path: str | None = None) -> bool:
        del path
        if not TRT.grants("parse", self._logger):
            self._n_errors = 1
            return False
        header = read_header(model)
        self._network._inputs = list(header.inputs)
        self._network._outputs = [ITensor(output.name) for output in header.outputs]
        return True

    @property
    def num_errors(self) -> int:
        return self._n_errors

    def get_error(self, index: int) -> ParserError:
        del index
        return ParserError()


class Builder(_Owned):
    def __init__(self, logger: Any) -> None:
        self._born()
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition | None:
        assert flags == 0
        return INetworkDefinition() if TRT.grants("create_network", self._logger) else None

    def create_builder_config(self) -> IBuilderConfig | None:
        return IBuilderConfig(self._logger) if TRT.grants("create_builder_config", self._logger) else None

    def create_optimization_profile(self) -> IOptimizationProfile | None:
        return IOptimizationProfile() if TRT.grants("create_optimization_profile", self._logger) else None

    def build_serialized_network(self, network: Any, config: Any) -> IHostMemory | None:
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Tactic Selection", "Building Engine", 1)
            is_wanted = [monitor.step_complete("Tactic Selection", 0), monitor.step_complete("Building Engine", 1)]
            monitor.phase_finish("Tactic Selection")
            monitor.phase_finish("Building Engine")
            if not all(is_wanted):
                self._logger.log(ILogger.Severity.ERROR, "cancelled by the monitor")
                return None
        if not TRT.grants("build_serialized_network", self._logger):
            return None
        (pixels,) = network._inputs
        plan = {
            "input": pixels.name,
            "type": "UINT8" if pixels.element_type == 2 else "FLOAT",
            "outputs": [output.name for output in network._outputs],
            "profiles": [profile._shapes[pixels.name] for profile in config._profiles],
        }
        told = {"flags": {flag.name for flag in config._flags}, "workspace_bytes": config._workspace_bytes}
        TRT.built.append({**plan, **told, "compatibility": config.hardware_compatibility_level.name})
        return IHostMemory(b"fake plan" + json.dumps(plan).encode())


class Runtime(_Owned):
    engine_host_code_allowed = False

    def __init__(self, logger: Any) -> None:
        self._born()
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        if not TRT.grants("deserialize_cuda_engine", self._logger):
            return None
        try:
            plan = json.loads(serialized_engine.removeprefix(b"fake plan"))
        except ValueError:
            self._logger.log(ILogger.Severity.ERROR, "Serialization assertion magicTag failed")
            return None
        if plan.get("host_code") and not self.engine_host_code_allowed:
            self._logger.log(ILogger.Severity.ERROR, "The engine contains host code, which is not allowed")
            return None
        return ICudaEngine(plan, self._logger)


class ICudaEngine(_Owned):
    def __init__(self, plan: dict[str, Any], logger: Any) -> None:
        self._born()
        self._plan, self._logger = plan, logger

    @property
    def num_io_tensors(self) -> int:
        return 1 + len(self._plan["outputs"])

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._plan["profiles"])

    def get_tensor_name(self, index: int) -> str:
        names: list[str] = [self._plan["input"], *self._plan["outputs"]]
        return names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == self._plan["input"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        if name == self._plan["input"]:
            return DataType[self._plan["type"]]
        return DataType[self._plan.get("output_type", "FLOAT")]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        del name
        shapes: list[Any] = self._plan["profiles"][profile_index]
        return shapes

    def create_execution_context(self, strategy: Any = None) -> "IExecutionContext | None":
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        if not TRT.grants("create_execution_context", self._logger):
            return None
        return IExecutionContext(self)


class IExecutionContext(_Owned):
    def __init__(self, engine: ICudaEngine) -> None:
        self._born()
        self._engine = engine
        self._profile = 0
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._allocator: Any = None
        self._has_scratch = False

    def _grants(self, name: str) -> bool:
        return TRT.grants(name, self._engine._logger)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in fake_pycuda.GPU.streams
        self._profile = profile_index
        return self._grants("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        self._shape = tuple(shape)
        is_within = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        return is_within and self._grants("set_input_shape")

    def infer_shapes(self) -> list[str]:
        return TRT.missing_shapes

    def update_device_memory_size_for_shapes(self) -> int:
        return TRT.scratch_bytes * self._shape[0] // 8

    def set_device_memory(self, memory: int, size: int) -> None:
        assert len(fake_pycuda.GPU.at(memory)) >= size
        self._has_scratch = True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        del name
        return (self._shape[0], -1, ROW[1]) if TRT.output_is_free else (self._shape[0], *ROW)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return self._grants(f"set_tensor_address {self._engine.get_tensor_mode(name).name}")

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        del name
        self._allocator = output_allocator
        return self._grants("set_output_allocator")

    def get_max_output_size(self, name: str) -> int:
        del name
        return TRT.max_output_bytes

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._grants("execute_async_v3"):
            return False
        assert self._has_scratch or TRT.scratch_bytes == 0
        (output,) = self._engine._plan["outputs"]
        shape = (self._shape[0], *ROW)
        type_ = np.float16 if self._engine.get_tensor_dtype(output) is DataType.HALF else np.float32
        address = self._addresses.get(output, 0)
        size_bytes = int(np.prod(shape)) * np.dtype(type_).itemsize
        if self._allocator is not None:
            address = self._allocator.reallocate_output_async(output, 0, size_bytes, 256, stream_handle)
            if address == 0:
                return False
            self._allocator.notify_shape(output, shape)
        source = self._addresses[self._engine._plan["input"]]

        def compute() -> None:
            item = np.uint8 if self._engine._plan["type"] == "UINT8" else np.float32
            n_bytes = int(np.prod(self._shape)) * np.dtype(item).itemsize
            pixels = fake_pycuda.GPU.at(source)[:n_bytes].view(item).reshape(self._shape)
            rows = np.broadcast_to(pixels.mean(axis=(1, 2, 3))[:, None, None], shape).astype(type_)
            fake_pycuda.GPU.at(address)[:size_bytes] = np.ascontiguousarray(rows).view(np.uint8).ravel()

        fake_pycuda.GPU.streams[stream_handle]._put(compute)
        return True
