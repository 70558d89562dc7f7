"""Memory for an output whose size TensorRT knows only once it has run."""

import logging
from types import ModuleType
from typing import TYPE_CHECKING

from engines.cuda.bindings import subclassed
from engines.cuda.memory_pool import MemoryPool, PoolLease

if TYPE_CHECKING:
    import tensorrt as trt

LOG = logging.getLogger("sightline")


class PooledOutput:
    """TensorRT's output allocator over our pool, for one tensor; called on the GPU's thread while a run is enqueued."""

    def __init__(self, pool: MemoryPool) -> None:
        super().__init__()  # the C++ side, where this is mixed with it
        self.shape: tuple[int, ...] = ()
        self.error: Exception | None = None
        self._pool = pool
        self._lease: PoolLease | None = None

    @property
    def address(self) -> int:
        """Where the output lies."""
        return 0 if self._lease is None else self._lease.address

    def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
        """Return an address with room for `size` bytes, 0 where there is none: an exception would be swallowed here."""
        del memory, alignment, stream  # the pool's blocks are aligned to 4 KiB at least, and one stream uses them
        if self._lease is not None and self._lease.size_bytes >= size:
            return self._lease.address
        try:
            lease = self._pool.lease(max(size, 1))
        except Exception as error:  # noqa: BLE001 - kept for the caller, who finds the run refused
            LOG.warning("no memory for the output %s of %d bytes", tensor_name, size)
            self.error = error.with_traceback(None)  # which would hold TensorRT's objects by its frames
            return 0
        self.close()
        self._lease = lease
        return lease.address

    def notify_shape(self, tensor_name: str, shape: "trt.Dims") -> None:
        """Keep the output's shape."""
        del tensor_name
        self.shape = tuple(shape)

    def close(self) -> None:
        """Give the memory back; harmless when repeated."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()


def new_output(trt: ModuleType, pool: MemoryPool) -> PooledOutput:
    """Return an allocator that TensorRT accepts."""
    return subclassed(PooledOutput, trt.IOutputAllocator)(pool)
