"""A GPU without a GPU: takes the time, the memory and the link that a real one would, and fails as one does."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.gpu import GpuReading
from app.core.model import ModelSpec
from app.core.ports import Engine, RawOutput
from app.pipeline.fault_inbox import FaultInbox
from app.policy.fault_plan import (
    ContextLoss,
    CorruptPlan,
    EngineLoadFailure,
    GpuOom,
    LinkDegradation,
    SlowKernel,
    StickyError,
)
from engines.cuda_status import STICKY, CudaError, CudaStatus, told
from engines.device_memory import Block, DeviceMemory
from engines.pcie import WINDOW_S, PcieLink, PcieMeter

GIB: Final = 1024**3
MIB: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A batch of n takes `seconds_per_image * n + seconds_per_call`; ValueError for a time below 0."""

    seconds_per_image: float
    seconds_per_call: float

    def __post_init__(self) -> None:
        if not (self.seconds_per_image >= 0 and self.seconds_per_call >= 0):
            raise ValueError("no batch takes less than no time")

    def duration_s(self, images: float) -> float:
        """The time of one batch; `images` is a fraction where pictures are smaller than the largest."""
        return self.seconds_per_image * images + self.seconds_per_call


def calibrated(samples: Sequence[tuple[int, float]]) -> Calibration:
    """The least-squares line through `(batch size, seconds)` that were measured; ValueError without two sizes."""
    if len({size for size, _ in samples}) < 2:  # noqa: PLR2004  a line
        raise ValueError("a line needs batches of at least two sizes")
    sizes, seconds = np.asarray(samples, dtype=np.float64).T
    slope, constant = np.polyfit(sizes, seconds, 1)
    return Calibration(seconds_per_image=max(float(slope), 0.0), seconds_per_call=max(float(constant), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParameters:
    """Memory and link of the device; 16 GiB as the source's pods have (MISSION row 27)."""

    memory_bytes: int = 16 * GIB
    link: PcieLink = field(default_factory=PcieLink)


class FakeGpu:
    """The device as one process sees it: what breaks its context stays broken until another takes its place.

    `inbox` holds the faults that are planted. `clock` gives monotonic seconds, `sleep` lets them pass. Safe for
    threads; kernels and copies run one after another.
    """

    def __init__(
        self,
        parameters: DeviceParameters | None = None,
        *,
        inbox: FaultInbox | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._parameters = parameters or DeviceParameters()
        self._inbox = inbox or FaultInbox(clock=clock)
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()  # one kernel or copy at a time
        self._lock = threading.Lock()  # the account of them, which nobody waits for
        self.memory = DeviceMemory(self._parameters.memory_bytes)
        self.pcie = PcieMeter()
        self.status = CudaStatus.CUDA_SUCCESS
        self._loaded_bytes = 0
        self._ran: deque[tuple[float, float]] = deque()  # from when to when, those of the last second

    @property
    def is_broken(self) -> bool:
        """Whether every further call fails."""
        return self.status in STICKY

    @property
    def link(self) -> PcieLink:
        """What the link runs at now."""
        degraded = self._inbox.active(LinkDegradation)
        if degraded is None:
            return self._parameters.link
        return PcieLink(generation=degraded.generation, lanes=degraded.lanes)

    @property
    def pcie_utilisation(self) -> float:
        """The share of the link that the last second used."""
        with self._lock:
            return self.pcie.utilisation(self.link, now_s=self._clock())

    @property
    def memory_ratio(self) -> float:
        """The share of memory that is taken, by us or by anybody."""
        with self._lock:
            self._see_memory()
            return self.memory.used_ratio

    def load(self, size_bytes: int, *, is_plan: bool) -> Block:
        """Memory for an engine's weights. ModelError for a plan that cannot be read, CudaError."""
        with self._lock:
            self._check("cuMemAlloc")
            if self._inbox.active(EngineLoadFailure) is not None:
                raise CudaError(CudaStatus.CUDA_ERROR_DEVICE_UNAVAILABLE, "cuDevicePrimaryCtxRetain")
            if is_plan and self._inbox.active(CorruptPlan) is not None:
                raise ModelError("the plan cannot be read back")
            self._see_memory()
            block = self.memory.allocate(size_bytes)
            self._loaded_bytes += block.size_bytes
            return block

    def free(self, block: Block) -> None:
        """Take an engine's memory back; after a sticky error it went with the context."""
        with self._lock:
            if not self.is_broken:
                self.memory.free(block)
                self._loaded_bytes -= block.size_bytes

    def read(self) -> GpuReading:
        """What NVML would say of it, and of each byte whether an engine's weights lie there."""
        with self._lock:
            now_s = self._clock()
            self._see_memory()
            memory = self.memory
            return GpuReading(
                device="fake",
                vram_used_bytes=memory.total_bytes - memory.free_bytes,
                vram_total_bytes=memory.total_bytes,
                vram_dynamic_bytes=memory.used_bytes - self._loaded_bytes,
                utilisation=self._utilisation(now_s),
                decoder_utilisation=0.0,
                pcie=self.pcie.traffic(now_s=now_s),
                pcie_bytes_per_s=self.link.theoretical_bytes_per_s,
            )

    def _utilisation(self, now_s: float) -> float:
        begin_s = now_s - WINDOW_S
        while self._ran and self._ran[0][1] <= begin_s:
            self._ran.popleft()
        return min(1.0, sum(end_s - max(start_s, begin_s) for start_s, end_s in self._ran) / WINDOW_S)

    def copy(self, *, up_bytes: int = 0, down_bytes: int = 0) -> None:
        """Copy over the link, in the time that it takes; CudaError."""
        with self._turn:
            self._check("cuMemcpyAsync")
            self._sleep((up_bytes + down_bytes) / self.link.bytes_per_s)
            with self._lock:
                self.pcie.copied(now_s=self._clock(), up_bytes=up_bytes, down_bytes=down_bytes)

    def run(self, duration_s: float, *, activations_bytes: int) -> None:
        """Run kernels that take so long and need so much memory meanwhile; CudaError."""
        with self._turn:
            self._check("cuLaunchKernel")
            for fault, status in _ONCE:
                if self._inbox.take(fault) is not None:
                    self.status = status
                    raise CudaError(status, "cuStreamSynchronize")
            with self._lock:
                self._see_memory()
                block = self.memory.allocate(activations_bytes)
            slow = self._inbox.active(SlowKernel)
            start_s = self._clock()
            self._sleep(duration_s * (1.0 if slow is None else slow.factor))
            with self._lock:
                self.memory.free(block)
                self._ran.append((start_s, self._clock()))
                self._utilisation(self._clock())  # forgets what is long past, read or not

    def _check(self, call: str) -> None:
        if self.is_broken:
            raise CudaError(self.status, call)

    def _see_memory(self) -> None:
        oom = self._inbox.active(GpuOom)
        self.memory.hoarded = 0.0 if oom is None else oom.share


_ONCE: Final = (
    (StickyError, CudaStatus.CUDA_ERROR_ILLEGAL_ADDRESS),
    (ContextLoss, CudaStatus.CUDA_ERROR_CONTEXT_IS_DESTROYED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeEngineParameters:
    """What an engine costs on the device; `is_plan` for TensorRT, whose file can be corrupt by itself."""

    calibration: Calibration
    weights_bytes: int = 256 * MIB
    activations_bytes_per_image: int = 64 * MIB
    is_plan: bool = True


class FakeGpuEngine:
    """An engine on a FakeGpu, whose rows are those of real engines: one per size of canvas, all of one model.

    The first of `answers` has the largest canvas; smaller ones cost by their area. Raises SightlineErrors only.
    """

    def __init__(self, gpu: FakeGpu, answers: Sequence[Engine], *, parameters: FakeEngineParameters) -> None:
        self._gpu = gpu
        self._answers = {(one.spec.input_height_px, one.spec.input_width_px): one for one in answers}
        self._parameters = parameters
        self.spec: ModelSpec = answers[0].spec
        try:
            self._weights: Block | None = gpu.load(parameters.weights_bytes, is_plan=parameters.is_plan)
        except CudaError as error:
            raise told(error) from error

    @property
    def streams(self) -> int:
        """One: the device wants whole batches."""
        return 1

    @property
    def is_broken(self) -> bool:
        """Whether the process has to end: no call will succeed any more."""
        return self._gpu.is_broken

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """The real engine's rows, after the time that the device would take. All canvases of one size."""
        shapes = {canvas.shape[:2] for canvas in pixels} or {next(iter(self._answers))}
        answers = self._answers.get(next(iter(shapes))) if len(shapes) == 1 else None
        if answers is None:
            raise ModelError(f"the model takes canvases of one size among {sorted(self._answers)}")
        rows = answers.infer(pixels)
        if not len(pixels):
            return rows
        area = answers.spec.input_width_px * answers.spec.input_height_px
        images = len(pixels) * area / (self.spec.input_width_px * self.spec.input_height_px)
        try:
            self._gpu.copy(up_bytes=sum(canvas.nbytes for canvas in pixels))
            self._gpu.run(
                self._parameters.calibration.duration_s(images),
                activations_bytes=round(images * self._parameters.activations_bytes_per_image),
            )
            self._gpu.copy(down_bytes=rows.nbytes)
        except CudaError as error:
            raise told(error) from error
        return rows

    def close(self) -> None:
        """Give the device's memory back; the real engines are the caller's."""
        if self._weights is not None:
            self._gpu.free(self._weights)
            self._weights = None
