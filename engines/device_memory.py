"""A GPU's memory as a pool by size class: what is freed is kept for the next of its class, the last freed first."""

from collections import defaultdict
from dataclasses import dataclass, field

from engines.cuda_status import CudaError, CudaStatus

SMALLEST_BYTES = 512


@dataclass(frozen=True, slots=True)
class Block:
    """`size_bytes` of device memory, a whole size class, at `address`."""

    address: int
    size_bytes: int


def size_class_bytes(size_bytes: int) -> int:
    """The smallest class that holds so much: quarters between powers of two, so that at most a fifth is wasted."""
    size_bytes = max(size_bytes, SMALLEST_BYTES)
    step = 1 << max((size_bytes - 1).bit_length() - 3, 0)
    return -(-size_bytes // step) * step


@dataclass(slots=True)
class DeviceMemory:
    """`total_bytes` of memory, for one thread at a time; somebody else takes the share `hoarded` of what is not lent.

    Also of what is held: a fault that leaves the last batch's memory to the next one would never strike.
    """

    total_bytes: int
    hoarded: float = 0.0
    used_bytes: int = field(default=0, init=False)
    held_bytes: int = field(default=0, init=False)
    _held: dict[int, list[Block]] = field(default_factory=lambda: defaultdict(list), init=False)
    _lent: set[Block] = field(default_factory=set, init=False)
    _next_address: int = field(default=SMALLEST_BYTES, init=False)

    @property
    def free_bytes(self) -> int:
        """What a new block may take: neither lent, nor held for the next of its class, nor hoarded."""
        free = self.total_bytes - self.used_bytes - self.held_bytes
        return free - round(free * self.hoarded)

    @property
    def used_ratio(self) -> float:
        """The share of memory that is not free for new blocks, as NVML would say."""
        return 1 - self.free_bytes / self.total_bytes

    def allocate(self, size_bytes: int) -> Block:
        """A block of the class that holds so much; CudaError OUT_OF_MEMORY when even the held blocks do not help."""
        size_bytes = size_class_bytes(size_bytes)
        if self.hoarded:
            self.trim()
        if self._held[size_bytes]:
            block = self._held[size_bytes].pop()
            self.held_bytes -= size_bytes
        else:
            if size_bytes > self.free_bytes:
                self.trim()
            if size_bytes > self.free_bytes:
                raise CudaError(CudaStatus.CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc")
            block = Block(self._next_address, size_bytes)
            self._next_address += size_bytes
        self._lent.add(block)
        self.used_bytes += size_bytes
        return block

    def free(self, block: Block) -> None:
        """Take the block back; CudaError INVALID_VALUE when it is not lent."""
        if block not in self._lent:
            raise CudaError(CudaStatus.CUDA_ERROR_INVALID_VALUE, "cuMemFree")
        self._lent.remove(block)
        self._held[block.size_bytes].append(block)
        self.used_bytes -= block.size_bytes
        self.held_bytes += block.size_bytes

    def trim(self) -> None:
        """Give the held blocks back to the device."""
        self._held.clear()
        self.held_bytes = 0
