"""The seams: what a stage or an engine must offer, whoever implements it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Detections, EncodedFrame, Frame, ModelInput, Tracks
from app.core.model import ModelSpec
from app.core.outcome import Outcome

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


class StillDecoder(Protocol):
    """Turns encoded images into pictures."""

    async def decode(self, frames: Sequence[EncodedFrame]) -> list[Outcome[Frame]]:
        """One outcome per image, in order."""


class Preprocessor(Protocol):
    """Puts pictures on the model's canvas."""

    async def fit(self, frames: Sequence[Outcome[Frame]]) -> list[Outcome[ModelInput]]:
        """One outcome per item, in order."""


class Detector(Protocol):
    """Finds objects."""

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """One outcome per item, in order."""


class Tracker(Protocol):
    """Gives objects their identities, stream by stream."""

    async def update(self, stream_id: str, frames: Sequence[Outcome[Detections]]) -> list[Outcome[Tracks]]:
        """One outcome per item; frames of one stream arrive in order."""

    async def end(self, stream_id: str) -> None:
        """Forget the stream."""
