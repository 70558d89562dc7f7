"""Device memory by size class: reuse, alignment, fragmentation, and everything back in the end."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import DeviceMemoryError
from engines.cuda.memory_pool import KIB, MAX_CLASS_BYTES, MIB, MemoryPool, alignment_of, class_of


class SimulatedMemory:
    """A RawAllocator of a fixed capacity; addresses are off by `misalignment`."""

    def __init__(self, *, capacity_bytes: int = 1 << 30, misalignment: int = 0) -> None:
        self.capacity_bytes = capacity_bytes
        self.misalignment = misalignment
        self.blocks: dict[int, int] = {}
        self.allocations = 0
        self._next = MAX_CLASS_BYTES

    def allocate(self, size_bytes: int) -> int:
        if sum(self.blocks.values()) + size_bytes > self.capacity_bytes:
            raise DeviceMemoryError
        self.allocations += 1
        address = self._next + self.misalignment
        self._next += -(-(size_bytes + self.misalignment) // MAX_CLASS_BYTES) * MAX_CLASS_BYTES
        self.blocks[address] = size_bytes
        return address

    def free(self, address: int) -> None:
        del self.blocks[address]


@pytest.mark.parametrize(
    ("size_bytes", "class_bytes", "alignment_bytes"),
    [
        (1, 4 * KIB, 4 * KIB),
        (4 * KIB, 4 * KIB, 4 * KIB),
        (4 * KIB + 1, 8 * KIB, 4 * KIB),
        (33 * KIB, 64 * KIB, 64 * KIB),
        (512 * KIB, 512 * KIB, 64 * KIB),
        (MIB, MIB, MIB),
        (150 * MIB, 256 * MIB, MIB),
    ],
)
def test_classes_are_powers_of_two_with_three_alignments(
    size_bytes: int, class_bytes: int, alignment_bytes: int
) -> None:
    assert class_of(size_bytes) == class_bytes
    assert alignment_of(class_bytes) == alignment_bytes


def test_the_last_block_back_is_the_first_out() -> None:
    pool = MemoryPool(SimulatedMemory())
    first, second = pool.lease(5000), pool.lease(5000)
    first.release()
    second.release()
    assert pool.lease(6000).address == second.address
    assert pool.lease(6000).address == first.address
    assert (pool.statistics().hits, pool.statistics().misses) == (2, 2)


@pytest.mark.parametrize("misalignment", [0, 256, 4096])
def test_addresses_are_aligned_whatever_the_driver_gives(misalignment: int) -> None:
    raw = SimulatedMemory(misalignment=misalignment)
    pool = MemoryPool(raw)
    leases = [pool.lease(size_bytes) for size_bytes in (10, 100 * KIB, 3 * MIB, 300 * MIB)]
    assert [
        lease.address % alignment for lease, alignment in zip(leases, [4 * KIB, 64 * KIB, MIB, MIB], strict=True)
    ] == [0] * 4
    for lease in leases:
        lease.release()
    pool.trim()
    assert raw.blocks == {}


def test_fragmentation_is_what_the_largest_free_block_leaves_out() -> None:
    """Source: MISSION 51: of 200 + 150 MB one block of 150 is free, and 300 are asked for."""
    raw = SimulatedMemory(capacity_bytes=600 * MIB)
    pool = MemoryPool(raw)
    leases = [pool.lease(64 * MIB) for _ in range(4)]
    small = pool.lease(128 * MIB)
    for lease in (*leases, small):
        lease.release()
    statistics = pool.statistics()
    assert (statistics.kept_bytes, statistics.largest_kept_bytes) == (384 * MIB, 128 * MIB)
    assert statistics.fragmentation == pytest.approx(2 / 3)
    large = pool.lease(300 * MIB)  # only after the pieces went back to the driver
    assert (pool.statistics().trims, pool.statistics().natives, pool.statistics().fragmentation) == (1, 1, 0)
    large.release()
    assert raw.blocks == {}


def test_a_full_device_says_so_and_the_pool_goes_on() -> None:
    raw = SimulatedMemory(capacity_bytes=10 * MIB)
    pool = MemoryPool(raw)
    held = pool.lease(8 * MIB)
    before = pool.statistics()
    with pytest.raises(DeviceMemoryError):
        pool.lease(4 * MIB)
    after = pool.statistics()
    assert (after.lent_blocks, after.lent_bytes) == (before.lent_blocks, before.lent_bytes)
    held.release()
    assert pool.lease(4 * MIB).size_bytes == 4 * MIB


def test_a_lease_ends_with_its_block_and_only_once() -> None:
    pool = MemoryPool(SimulatedMemory())
    with pytest.raises(RuntimeError, match="inside"), pool.lease(100) as lease:
        raise RuntimeError("inside")
    lease.release()
    assert (pool.statistics().lent_blocks, pool.statistics().kept_blocks) == (0, 1)


def test_nothing_cannot_be_borrowed() -> None:
    with pytest.raises(ValueError, match="one byte"):
        MemoryPool(SimulatedMemory()).lease(0)


@given(st.lists(st.tuples(st.integers(1, 300 * MIB), st.integers(0, 9)), max_size=60))
def test_leases_never_overlap_and_all_memory_comes_back(steps: list[tuple[int, int]]) -> None:
    raw = SimulatedMemory(capacity_bytes=2048 * MIB, misalignment=256)
    pool = MemoryPool(raw)
    lent = []
    for size_bytes, keep in steps:
        while len(lent) > keep:
            lent.pop(0).release()
        try:
            lent.append(pool.lease(size_bytes))
        except DeviceMemoryError:
            continue
        spans = sorted((lease.address, lease.address + lease.size_bytes) for lease in lent)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert pool.statistics().requested_bytes == sum(lease.size_bytes for lease in lent)
    for lease in lent:
        lease.release()
    assert (pool.statistics().lent_bytes, pool.statistics().requested_bytes) == (0, 0)
    pool.trim()
    assert raw.blocks == {}


def test_a_steady_load_allocates_once() -> None:
    raw = SimulatedMemory()
    pool = MemoryPool(raw)
    seen: dict[int, set[int]] = defaultdict(set)
    for turn in range(1000):
        with pool.lease(1_228_800) as pixels, pool.lease(200_000) as rows:
            seen[turn % 2].update({pixels.address, rows.address})
    assert (raw.allocations, seen[0]) == (2, seen[1])
