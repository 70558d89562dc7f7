"""Device memory in size classes: what is given back is kept and lent again, the last one first.

The driver's own allocation waits for the device; a pool's does not. One thread owns a pool, so its free lists need no
locks. Source: MISSION 51, 52.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from app.core.errors import DeviceMemoryError

KIB, MIB = 1 << 10, 1 << 20
ALIGNMENTS_BYTES = (4 * KIB, 64 * KIB, MIB)
"""Of small, medium and large blocks: a block's is the largest of them that is no larger than the block."""
MAX_CLASS_BYTES = 256 * MIB
"""Above it a power of two would waste too much: such blocks come from the driver and go back to it at once."""


class RawAllocator(Protocol):
    """Where the blocks come from. Addresses are numbers; DeviceMemoryError when there is no room."""

    def allocate(self, size_bytes: int) -> int:
        """Return the address of a new block."""

    def free(self, address: int) -> None:
        """Give the block back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """`lent` is with leases, `kept` is on free lists; sizes are those of the classes, not of the requests.

    `fragmentation` in [0, 1] is one less the largest kept block over all that is kept: 0 when all free memory lies
    in one block, near 1 when it is many small ones, none of which serves a large request. 0 where nothing is kept.
    """

    lent_blocks: int
    lent_bytes: int
    requested_bytes: int
    kept_blocks: int
    kept_bytes: int
    largest_kept_bytes: int
    hits: int
    misses: int
    natives: int
    trims: int

    @property
    def fragmentation(self) -> float:
        """The share of the kept memory outside its largest block."""
        return 1 - self.largest_kept_bytes / self.kept_bytes if self.kept_bytes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """`address` is aligned, `raw` is what the allocator gave and gets back. `is_native`: not of a size class."""

    address: int
    raw: int
    size_bytes: int
    is_native: bool = False


class PoolLease:
    """Memory lent until it is released, or for the time of a `with` block."""

    def __init__(self, pool: "MemoryPool", block: _Block, *, requested_bytes: int) -> None:
        self.address = block.address
        self.size_bytes = requested_bytes
        self._pool = pool
        self._block: _Block | None = block

    def release(self) -> None:
        """Give the memory back, once whatever used it on the device is through; harmless when repeated."""
        if self._block is not None:
            block, self._block = self._block, None
            self._pool._take_back(block, requested_bytes=self.size_bytes)  # noqa: SLF001 - the two are one thing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class MemoryPool:
    """Blocks of power-of-two classes over a RawAllocator; addresses are aligned as their size class says."""

    def __init__(self, raw: RawAllocator) -> None:
        self._raw = raw
        self._kept: dict[int, list[_Block]] = {}
        self._lent_blocks = self._lent_bytes = self._requested_bytes = 0
        self._hits = self._misses = self._natives = self._trims = 0

    def lease(self, size_bytes: int) -> PoolLease:
        """Return at least so many bytes, ValueError below 1.

        DeviceMemoryError when there is no room even after all that was kept went back.
        """
        if size_bytes < 1:
            raise ValueError("a block holds at least one byte")
        block = self._block(size_bytes)
        self._lent_blocks += 1
        self._lent_bytes += block.size_bytes
        self._requested_bytes += size_bytes
        return PoolLease(self, block, requested_bytes=size_bytes)

    def trim(self) -> None:
        """Give everything that is kept back to the allocator."""
        kept, self._kept = self._kept, {}
        for blocks in kept.values():
            for block in blocks:
                self._raw.free(block.raw)
        self._trims += 1

    def statistics(self) -> PoolStatistics:
        """Return what is lent and what is kept now, and how requests were met so far."""
        kept = [block.size_bytes for blocks in self._kept.values() for block in blocks]
        return PoolStatistics(
            lent_blocks=self._lent_blocks,
            lent_bytes=self._lent_bytes,
            requested_bytes=self._requested_bytes,
            kept_blocks=len(kept),
            kept_bytes=sum(kept),
            largest_kept_bytes=max(kept, default=0),
            hits=self._hits,
            misses=self._misses,
            natives=self._natives,
            trims=self._trims,
        )

    def _block(self, size_bytes: int) -> _Block:
        if size_bytes > MAX_CLASS_BYTES:
            self._natives += 1
            whole_bytes = -(-size_bytes // ALIGNMENTS_BYTES[-1]) * ALIGNMENTS_BYTES[-1]
            return self._new_block(whole_bytes, is_native=True)
        class_bytes = class_of(size_bytes)
        kept = self._kept.get(class_bytes)
        if kept:
            self._hits += 1
            return kept.pop()  # the last one back is the likeliest to be in the device's cache still
        self._misses += 1
        return self._new_block(class_bytes, is_native=False)

    def _new_block(self, size_bytes: int, *, is_native: bool) -> _Block:
        """Return a block from the allocator; where that is full, once more after everything kept went back."""
        try:
            return self._aligned(size_bytes, is_native=is_native)
        except DeviceMemoryError:
            if not any(self._kept.values()):
                raise
        self.trim()
        return self._aligned(size_bytes, is_native=is_native)

    def _aligned(self, size_bytes: int, *, is_native: bool) -> _Block:
        """Return a block at a multiple of its alignment; a driver promises 256 bytes and mostly gives more."""
        alignment_bytes = alignment_of(size_bytes)
        raw = self._raw.allocate(size_bytes)
        if raw % alignment_bytes:
            self._raw.free(raw)
            raw = self._raw.allocate(size_bytes + alignment_bytes)
        address = -(-raw // alignment_bytes) * alignment_bytes
        return _Block(address=address, raw=raw, size_bytes=size_bytes, is_native=is_native)

    def _take_back(self, block: _Block, *, requested_bytes: int) -> None:
        self._lent_blocks -= 1
        self._lent_bytes -= block.size_bytes
        self._requested_bytes -= requested_bytes
        if block.is_native:
            self._raw.free(block.raw)
        else:
            self._kept.setdefault(block.size_bytes, []).append(block)


def class_of(size_bytes: int) -> int:
    """Return the size class: the power of two that holds so many bytes, the smallest alignment at least."""
    return max(1 << (size_bytes - 1).bit_length(), ALIGNMENTS_BYTES[0])


def alignment_of(size_bytes: int) -> int:
    """Return what addresses of blocks of this size are multiples of."""
    return max(alignment for alignment in ALIGNMENTS_BYTES if alignment <= size_bytes)
