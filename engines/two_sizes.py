"""One model opened for two sizes of canvas, as one engine: each batch goes to that of its size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.model import ModelSpec
from app.core.ports import Breakable, Engine, RawOutput
from app.pipeline.engine_slot import Restarting


class TwoSizes:
    """An engine that takes canvases of `smaller`'s size besides its own; all canvases of a batch have one size."""

    def __init__(self, full: Engine, smaller: Engine) -> None:
        self._full = full
        self._smaller = smaller
        self._both: tuple[object, object] = (full, smaller)
        self._smaller_shape = (smaller.spec.input_height_px, smaller.spec.input_width_px, 3)

    @property
    def spec(self) -> ModelSpec:
        """What the model is, on its own canvas."""
        return self._full.spec

    @property
    def streams(self) -> int:
        """How many concurrent calls make it fastest."""
        return self._full.streams

    @property
    def is_broken(self) -> bool:
        """Whether one of the two has come to its end."""
        return any(isinstance(one, Breakable) and one.is_broken for one in self._both)

    @property
    def n_restarts(self) -> int:
        """How often one of the two was started anew."""
        return sum(one.n_restarts for one in self._both if isinstance(one, Restarting))

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """The rows of the engine whose size the first canvas has."""
        is_smaller = len(pixels) > 0 and pixels[0].shape == self._smaller_shape
        return (self._smaller if is_smaller else self._full).infer(pixels)

    def close(self) -> None:
        """Give the memory of both back."""
        self._smaller.close()
        self._full.close()
