"""What the CPU engines share: a few lanes, each with its own buffers, lent to one caller at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec

L = TypeVar("L")


class Lanes(Generic[L]):
    """`count` lanes; a caller beyond that waits for the first to come free."""

    def __init__(self, make: Callable[[], L], *, count: int) -> None:
        self.count = count
        self._free: SimpleQueue[L] = SimpleQueue()
        for _ in range(count):
            self._free.put(make())

    @contextmanager
    def borrow(self) -> Iterator[L]:
        """Lend one lane for the time of the block."""
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """Take every lane back, waiting for those in use, and drop them."""
        for _ in range(self.count):
            self._free.get()


def check_canvases(pixels: Sequence[NDArray[np.uint8]], spec: ModelSpec) -> None:
    """Raise a ModelError unless every canvas has the model's size."""
    wanted = (spec.input_height_px, spec.input_width_px, 3)
    for canvas in pixels:
        if canvas.shape != wanted or canvas.dtype != np.uint8:
            raise ModelError(f"the model takes {wanted} uint8 canvases, not {canvas.shape} {canvas.dtype}")


def portions(pixels: Sequence[NDArray[np.uint8]], size: int) -> Iterator[tuple[int, Sequence[NDArray[np.uint8]]]]:
    """Yield where each portion of at most `size` canvases starts, and the portion."""
    for start in range(0, len(pixels), size):
        yield start, pixels[start : start + size]
