"""Page-locked host memory in a ring: the only memory that the device copies from while the CPU goes on.

A copy that was put on a stream reads and writes its host buffer until that stream was synchronised, so a buffer comes
free only then. Source: MISSION 42, 85; PyCUDA's copies keep no reference to their buffers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import UnavailableError


class PinnedMemory(Protocol):
    """Where page-locked buffers come from."""

    def allocate(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return a new buffer."""

    def free(self, buffer: NDArray[np.uint8]) -> None:
        """Give it back."""


class PinnedSlot:
    """One buffer of the ring. `in_flight` is what must be waited for before the buffer is anybody else's."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self.buffer = buffer
        self.in_flight: Callable[[], None] | None = None

    def used_by(self, synchronise: Callable[[], None]) -> None:
        """Note that a stream copies from or to the buffer from now on; `synchronise` waits for that stream."""
        self.in_flight = synchronise

    def synchronised(self) -> None:
        """Note that the stream was waited for."""
        self.in_flight = None


class PinnedRing:
    """`count` buffers of `size_bytes`. A caller beyond that waits; buffers whose stream failed are not lent again."""

    def __init__(self, memory: PinnedMemory, *, count: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._memory = memory
        self._slots: list[PinnedSlot] = []
        self._free: SimpleQueue[PinnedSlot] = SimpleQueue()
        self._condemned = 0
        try:
            for _ in range(count):
                slot = PinnedSlot(memory.allocate(size_bytes))
                self._slots.append(slot)
                self._free.put(slot)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def lease(self, *, timeout_s: float = 30.0) -> Iterator[PinnedSlot]:
        """Lend a buffer; UnavailableError when none comes free in time.

        On the way out its stream is waited for if nobody did; where that fails the buffer stays out of the ring,
        because the device may still write to it.
        """
        try:
            slot = self._free.get(timeout=timeout_s)
        except Empty:
            raise UnavailableError("the GPU does not come to an end with earlier pictures") from None
        try:
            yield slot
        finally:
            self._settle(slot)

    def _settle(self, slot: PinnedSlot) -> None:
        try:
            if slot.in_flight is not None:
                slot.in_flight()
                slot.synchronised()
        except BaseException:
            self._condemned += 1
            raise
        self._free.put(slot)

    @property
    def lent(self) -> int:
        """How many buffers are with callers, those out of the ring among them."""
        return len(self._slots) - self._free.qsize()

    @property
    def condemned(self) -> int:
        """How many buffers are out of the ring."""
        return self._condemned

    def close(self) -> None:
        """Give every buffer back, those out of the ring too; harmless when repeated. The device must be idle."""
        slots, self._slots = self._slots, []
        while not self._free.empty():
            self._free.get()
        for slot in slots:
            self._memory.free(slot.buffer)
