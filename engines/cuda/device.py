"""One GPU through PyCUDA, and the one thread that creates, uses and frees everything on it.

CUDA's stack of contexts belongs to a thread, and PyCUDA leaks what another thread drops. The primary context is the one
that TensorRT's own runtime uses; a second one would make each other's handles invalid.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DeviceLostError, SightlineError, UnavailableError
from engines.cuda.bindings import Bindings
from engines.cuda.errors import CudaCallError, CudaFault, error_for, fault_in_words

if TYPE_CHECKING:
    import pycuda.driver as cuda

LOG = logging.getLogger("sightline")
T = TypeVar("T")
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: what others put on the default stream does not hold this one up


class Device:
    """A GPU with its thread and one stream. After a sticky error `is_broken`, and every call is a DeviceLostError."""

    def __init__(self, bindings: Bindings, *, index: int = 0) -> None:
        bindings.check()
        self.is_broken = False
        self._bindings = bindings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._context: cuda.Context
        self.stream: cuda.Stream
        try:
            self.call(self._open, index)
        except BaseException:
            self._thread.shutdown()
            raise

    def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Return what `work` returns on the GPU's thread; errors of CUDA come back as ours."""
        return self.submit(work, *arguments).result()

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Put `work` on the GPU's thread."""
        try:
            return self._thread.submit(self._translated, work, *arguments)
        except RuntimeError:
            raise UnavailableError("the engine is closed") from None

    def check_alive(self) -> None:
        """Raise a DeviceLostError if the context is dead: after a sticky error even waiting for nothing fails.

        On the GPU's thread. This tells what no message does, in whatever words the driver or TensorRT put it.
        """
        try:
            self._bindings.cuda.Context.synchronize()
        except self._bindings.cuda.Error as error:
            LOG.error("the GPU's context is dead: %s", _name(fault_in_words(str(error))))  # noqa: TRY400 - the name says all
            self.is_broken = True
            raise DeviceLostError from None

    def synchronise(self) -> None:
        """Wait until the stream is idle. On the GPU's thread."""
        self.stream.synchronize()

    def close(self, release: Callable[[], None]) -> None:
        """Run `release` on the GPU's thread, which gives back all that lies on the device; then stream and context.

        A device that is lost keeps its context: nothing can be given back to it, and the process is to end.
        """
        try:
            self._thread.submit(self._close, release).result()
        except self._bindings.cuda.Error as error:
            LOG.warning("the GPU was not left in order: %s", _name(fault_in_words(str(error))))
        finally:
            self._thread.shutdown()

    def _translated(self, work: Callable[..., T], *arguments: object) -> T:
        if self.is_broken:
            raise DeviceLostError
        # Whoever keeps an error keeps the frames that it came through, and they what lies on the device: it would be
        # freed later and in another thread. So an error leaves this thread without them.
        try:
            return work(*arguments)
        except SightlineError as error:
            raise error.with_traceback(None) from None
        except (self._bindings.cuda.Error, CudaCallError) as error:
            error.with_traceback(None)
            fault = error.fault if isinstance(error, CudaCallError) else fault_in_words(str(error))
            LOG.warning("CUDA failed: %s: %s", _name(fault), str(error))
            if fault is not None and fault.is_sticky:
                self.is_broken = True
            raise error_for(fault) from None

    def _open(self, index: int) -> None:
        module = self._bindings.cuda
        module.init()
        device: cuda.Device = module.Device(index)
        self._context = device.retain_primary_context()
        with ExitStack() as undo:
            undo.callback(self._context.detach)
            self._context.push()
            undo.callback(self._context.pop)
            self.stream = module.Stream(_NON_BLOCKING)
            undo.pop_all()

    def _close(self, release: Callable[[], None]) -> None:
        try:
            if not self.is_broken:
                self.stream.synchronize()
            release()
        finally:
            del self.stream
            self._context.pop()
            self._context.detach()


class DeviceMemory:
    """The RawAllocator of PyCUDA; for the GPU's thread."""

    def __init__(self, bindings: Bindings) -> None:
        self._cuda = bindings.cuda
        self._blocks: dict[int, cuda.DeviceAllocation] = {}

    def allocate(self, size_bytes: int) -> int:
        """Return the address of a new block; DeviceMemoryError when the GPU has no room."""
        try:
            block: cuda.DeviceAllocation = self._cuda.mem_alloc(size_bytes)
        except self._cuda.MemoryError as error:
            raise error_for(fault_in_words("out of memory")) from error
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """Give the block back."""
        self._blocks.pop(address).free()


class HostMemory:
    """The PinnedMemory of PyCUDA; for the GPU's thread."""

    def __init__(self, bindings: Bindings) -> None:
        self._cuda = bindings.cuda

    def allocate(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return a new page-locked buffer, which every context may copy from."""
        flags: int = self._cuda.host_alloc_flags.PORTABLE
        buffer: NDArray[np.uint8] = self._cuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
        return buffer

    def free(self, buffer: NDArray[np.uint8]) -> None:
        """Give it back now, not when the last reference goes, which may be in another thread."""
        allocation: cuda.PagelockedHostAllocation = buffer.base  # type: ignore[assignment, unused-ignore]
        allocation.free()


def _name(fault: CudaFault | None) -> str:
    return "an error that is none of the known ones" if fault is None else f"{fault.name} ({fault.code})"
