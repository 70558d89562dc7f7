"""The memory between a decoder process and its owner: a few frames, and the count of frames it has taken in."""

import os
from typing import Final, Self

import numpy as np

from app.core.frame import Pixels

SLOTS: Final = 2
"""Frames on their way at once: while one is copied out, the next is written."""
_HEAD_BYTES: Final = 4096
_COUNTER_BYTES: Final = 8


class FrameRing:
    """An anonymous file that both processes hold; the kernel forgets it with the last of them.

    It is read and written, never mapped: whatever a decoder gone mad does to it, its owner sees short reads and wrong
    pixels, not SIGBUS.
    """

    def __init__(self, descriptor: int, *, slot_bytes: int) -> None:
        self.descriptor = descriptor
        self.slot_bytes = slot_bytes

    @classmethod
    def create(cls, *, slot_bytes: int) -> Self:
        """A ring of our own; the pages exist once they are written to."""
        descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _HEAD_BYTES + SLOTS * slot_bytes)
        return cls(descriptor, slot_bytes=slot_bytes)

    @property
    def file_bytes(self) -> int:
        """How long the file is."""
        return _HEAD_BYTES + SLOTS * self.slot_bytes

    def write(self, slot: int, rgb: Pixels) -> None:
        """Put a picture into a slot; ValueError when it is too large for it."""
        data = memoryview(np.ascontiguousarray(rgb).data).cast("B")
        if data.nbytes > self.slot_bytes:
            raise ValueError(f"a picture of {data.nbytes} bytes does not fit into {self.slot_bytes}")
        written = 0
        while written < data.nbytes:
            written += os.pwrite(self.descriptor, data[written:], self._offset(slot) + written)

    def read(self, slot: int, *, width_px: int, height_px: int) -> Pixels:
        """A copy of the picture in a slot; ValueError when there cannot be one of that size."""
        if not 0 <= slot < SLOTS or min(width_px, height_px) < 1 or width_px * height_px * 3 > self.slot_bytes:
            raise ValueError(f"no picture of {width_px} x {height_px} lies in slot {slot}")
        rgb = np.empty((height_px, width_px, 3), np.uint8)
        data, done = memoryview(rgb.data).cast("B"), 0
        while done < data.nbytes:
            count = os.preadv(self.descriptor, [data[done:]], self._offset(slot) + done)
            if not count:
                raise ValueError("the ring was cut")
            done += count
        rgb.flags.writeable = False
        return rgb

    @property
    def taken_in(self) -> int:
        """How many frames the decoder process has read from its source so far."""
        return int.from_bytes(os.pread(self.descriptor, _COUNTER_BYTES, 0), "little")

    @taken_in.setter
    def taken_in(self, count: int) -> None:
        os.pwrite(self.descriptor, count.to_bytes(_COUNTER_BYTES, "little"), 0)

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self.descriptor)

    def _offset(self, slot: int) -> int:
        return _HEAD_BYTES + slot * self.slot_bytes
