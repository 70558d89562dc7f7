"""Runs a TensorRT plan on one GPU: whole batches, one after the other, each with one launch where CUDA graphs allow.

No figure of it is measured: no machine of the project had TensorRT's libraries.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, UnavailableError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines.cuda.bindings import Bindings
from engines.cuda.device import Device, DeviceMemory
from engines.cuda.memory_pool import MemoryPool, PoolStatistics
from engines.lanes import portions
from engines.model_file import ModelFile
from engines.plan_file import check_target, split_plan
from engines.profiles import Profile
from engines.tensorrt_build import target_of
from engines.tensorrt_canvas import CanvasLanes
from engines.tensorrt_lane import LaneParts
from engines.tensorrt_log import TensorRtLog, process_log
from engines.tensorrt_plan import LoadedPlan, load_plan

if TYPE_CHECKING:
    import tensorrt as trt

LOG = logging.getLogger("sightline")
_MAX_SIZES = 4
"""Canvas sizes kept ready: the model's own, and smaller ones for when there is too much to do."""


class TensorRtEngine:
    """One plan on one GPU. Canvases may have any size that a profile takes, all of one call the same.

    Nothing of CUDA or TensorRT is touched before CUDA was probed, and then only on the GPU's own thread. A ModelError
    says what is wrong with the plan, an UnavailableError that there is no GPU. Once `is_broken`, only another process
    can go on.
    """

    def __init__(
        self, file: ModelFile, plan: bytes, *, bindings: Bindings, max_batch: int = 8, device_index: int = 0
    ) -> None:
        self._spec = file.spec
        self._words, content = split_plan(plan)
        self._device = Device(bindings, index=device_index)
        self._on_device = _OnDevice(bindings, self._device, max_batch=max_batch)
        self._is_closed = False
        self._calls = 0
        self._idle = threading.Condition()
        try:
            target = self._device.call(lambda: target_of(bindings, index=device_index))
            check_target(self._words, target)
            self._device.call(self._on_device.load, content)
            self._device.call(self._on_device.canvas, file.spec.input_height_px, file.spec.input_width_px)
        except BaseException:
            self.close()
            raise

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def streams(self) -> int:
        """One: the device wants whole batches, and a second call is only written while the first one runs."""
        return 1

    @property
    def is_broken(self) -> bool:
        """Whether the GPU is lost to this process."""
        return self._device.is_broken

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The plan's optimisation profiles: what a batch must not straddle."""
        return self._on_device.profiles

    def memory(self) -> PoolStatistics:
        """Return the state of the device memory's pool."""
        return self._device.call(self._on_device.pool.statistics)

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas; more than the largest batch go one after the other."""
        if not pixels:
            raise ModelError("a batch holds at least one canvas")
        shape = pixels[0].shape
        if any(canvas.shape != shape or canvas.dtype != np.uint8 for canvas in pixels) or shape[2:] != (3,):
            raise ModelError("a batch holds (H, W, 3) uint8 canvases of one size")
        with self._call():
            lanes = self._device.call(self._on_device.canvas, shape[0], shape[1])
            return np.concatenate([lanes.run(some, self._spec) for _, some in portions(pixels, lanes.max_batch)])

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Count a call, for whose end `close` waits: it reads memory that `close` frees."""
        with self._idle:
            if self._is_closed:
                raise UnavailableError("the engine is closed")
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Wait for calls that run and give everything back, last made first; harmless when repeated."""
        with self._idle:
            if self._is_closed:
                return
            self._is_closed = True
            self._idle.wait_for(lambda: self._calls == 0)
        self._device.close(self._on_device.release)


class _OnDevice:
    """What only the GPU's thread may touch: the plan, the lanes of each canvas size and their memory."""

    def __init__(self, bindings: Bindings, device: Device, *, max_batch: int) -> None:
        self.pool = MemoryPool(DeviceMemory(bindings))
        self.profiles: tuple[Profile, ...] = ()
        self._bindings = bindings
        self._device = device
        self._max_batch = max_batch
        self._sizes: dict[tuple[int, int], CanvasLanes] = {}
        self._log: TensorRtLog | None = None
        self._runtime: trt.Runtime | None = None
        self._plan: LoadedPlan | None = None

    def load(self, plan: bytes) -> None:
        """Deserialise the plan. Host code in it is never allowed to run."""
        module = self._bindings.trt
        self._log = process_log(module)
        self._runtime = module.Runtime(self._log)
        self._plan = load_plan(self._runtime, plan, module=module, log=self._log)
        self.profiles = self._plan.profiles

    def canvas(self, height_px: int, width_px: int) -> CanvasLanes:
        """Return the lanes for this canvas size, made ready at its first picture."""
        if self._plan is None:
            raise UnavailableError("the engine is closed")
        size = (height_px, width_px)
        if size not in self._sizes:
            if len(self._sizes) == _MAX_SIZES:
                raise ModelError(f"canvases of {_MAX_SIZES} other sizes are being served already")
            parts = LaneParts(bindings=self._bindings, device=self._device, plan=self._plan, pool=self.pool)
            self._sizes[size] = CanvasLanes(parts, height_px=height_px, width_px=width_px, max_batch=self._max_batch)
        return self._sizes[size]

    def release(self) -> None:
        """Give back graphs, contexts, engine, runtime and buffers, in this order. A lost device takes nothing back."""
        if self._device.is_broken:
            LOG.warning("the GPU is lost: what lies on it goes with this process")
            return
        sizes, self._sizes = list(self._sizes.values()), {}
        for lanes in sizes:
            lanes.close_lanes()
        if self._plan is not None:
            self._plan.release()
        self._plan = None
        self._runtime = None
        for lanes in sizes:
            lanes.close_ring()
        self.pool.trim()
