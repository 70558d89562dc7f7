"""The seam below the stages: what an engine must offer, whoever implements it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from app.core.model import ModelSpec

RawOutput: TypeAlias = NDArray[np.float32]
"""The network's output for a batch, `(B, …)` float32, laid out as the model's `Head` says."""


class Engine(Protocol):
    """One loaded model. `infer` is thread-safe and holds no interpreter lock while it computes."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""

    @property
    def streams(self) -> int:
        """How many concurrent `infer` calls make it fastest; 1 where the device wants whole batches."""

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Run the network on `len(pixels)` canvases, each `(H, W, 3)` uint8 RGB; row i belongs to pixels[i]."""

    def close(self) -> None:
        """Give the memory back; no call may follow."""


@runtime_checkable
class Breakable(Protocol):
    """An engine that can come to an end which only another process can mend."""

    @property
    def is_broken(self) -> bool:
        """Whether it has: this process must end."""
