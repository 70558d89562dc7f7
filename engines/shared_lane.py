"""The memory and the bell between one caller and a model in another process."""

import contextlib
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SightlineError
from app.core.ports import RawOutput
from engines.host_messages import MAX_BYTES, Failed, decode

SLOTS: Final = 2
"""Places for answers: one may be lent to its reader while the next answer is written."""
REQUEST: Final = struct.Struct("<HH")
"""How many canvases wait, and the slot that their rows go to."""
DONE: Final = b"+"
"""The rows are there; any other answer is a `Failed`."""
_PAGE_BYTES: Final = 4096
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Nobody can cut the file any more: without that, a mapped page that is gone would be a SIGBUS for its reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneShape:
    """What one lane holds: `max_batch` canvases of the model's size, and `SLOTS` times as many rows."""

    max_batch: int
    height_px: int
    width_px: int
    row_shape: tuple[int, ...]

    @property
    def canvases_bytes(self) -> int:
        """Where the rows begin: whole pages behind the canvases."""
        return -(-self.max_batch * self.height_px * self.width_px * 3 // _PAGE_BYTES) * _PAGE_BYTES

    @property
    def file_bytes(self) -> int:
        """How long the shared file is."""
        return self.canvases_bytes + SLOTS * self.max_batch * prod(self.row_shape) * np.dtype(np.float32).itemsize


class LaneMemory:
    """A file without a name that both processes have mapped; the kernel forgets it with the last of them.

    `canvases` is `(max_batch, H, W, 3)` uint8, `rows` `(SLOTS, max_batch, …)` float32. Pages exist once they are
    written to. The mapping goes when no array on it is left.
    """

    def __init__(self, descriptor: int, shape: LaneShape) -> None:
        mapped = mmap.mmap(descriptor, shape.file_bytes)
        pixels = np.frombuffer(mapped, np.uint8, shape.canvases_bytes)
        size = (shape.max_batch, shape.height_px, shape.width_px, 3)
        self.canvases = pixels[: prod(size)].reshape(size)
        values = np.frombuffer(mapped, np.float32, offset=shape.canvases_bytes)
        self.rows = values.reshape(SLOTS, shape.max_batch, *shape.row_shape)

    @staticmethod
    def create(shape: LaneShape) -> int:
        """A descriptor of such a file, whose length is final."""
        descriptor = os.memfd_create("lane", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, shape.file_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return descriptor


class _Loan:
    """What lent rows stand on: as long as any array looks at them, it lives; then their slot is free again.

    NumPy lets a view of a view stand on the owner of the memory alone, so that an array between them would not notice.
    """

    def __init__(self, rows: RawOutput, free: list[int], *, slot: int) -> None:
        self.__array_interface__ = rows.__array_interface__
        self._rows = rows
        self._free = free
        self._slot = slot

    def __del__(self) -> None:
        self._free.append(self._slot)


class Lane:
    """The caller's end, for one call at a time: pixels are copied in once, rows are not copied out.

    The rows of an answer lie where the process wrote them, and are the caller's until it has let go of them. Who keeps
    answers for longer gets copies: the last free slot is never lent.
    """

    def __init__(self, shape: LaneShape) -> None:
        self._row_shape = shape.row_shape
        self._free = list(range(SLOTS))
        self._bell, self._their_bell = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._descriptor = LaneMemory.create(shape)
        self._memory: LaneMemory | None = LaneMemory(self._descriptor, shape)

    def hand_over(self, control: socket.socket) -> None:
        """Send the process its end."""
        socket.send_fds(control, [b"lane"], [self._descriptor, self._their_bell.fileno()])
        self._let_go()

    def infer(self, canvases: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], *, timeout_s: float) -> RawOutput:
        """The rows of at most `max_batch` canvases; typed errors of the process, OSError or ValueError when it is lost.

        TimeoutError, which is an OSError, after `timeout_s`. After anything but an error of ours the lane is closed:
        an answer that comes too late would be taken for the next one.
        """
        memory = self._memory
        if memory is None:
            raise BrokenPipeError
        slot = self._free[-1]
        try:
            for place, canvas in zip(memory.canvases, canvases, strict=False):
                np.copyto(place, canvas)
            self._bell.settimeout(timeout_s)
            self._bell.send(REQUEST.pack(len(canvases), slot))
            answer = self._bell.recv(MAX_BYTES)
            refusal = None if answer == DONE else _error(answer)
        except BaseException:
            self.close()
            raise
        if refusal is not None:
            raise refusal
        rows = memory.rows[slot, : len(canvases)]
        if len(self._free) < SLOTS:
            return rows.copy()
        self._free.remove(slot)
        return np.asarray(_Loan(rows, self._free, slot=slot))

    def warm(self, *, timeout_s: float) -> None:
        """Show the process a black canvas, where it lies, so that the first picture finds its pages there."""
        if self._memory is not None:
            self.infer(self._memory.canvases[:1], timeout_s=timeout_s)

    def hang_up(self) -> None:
        """Wake a caller that waits for an answer of a process that is dead."""
        with contextlib.suppress(OSError):
            self._bell.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go; the memory goes with the last of the rows that were lent. Only for who has the lane."""
        self._let_go()
        self._bell.close()
        self._memory = None

    def _let_go(self) -> None:
        """Close what only the process needs."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._their_bell.close()


def _error(answer: bytes) -> SightlineError:
    """The error that the process told; ValueError for anything else, and for the silence of one that has died."""
    message = decode(answer)
    if isinstance(message, Failed):
        return message.error
    raise ValueError("not an answer")
