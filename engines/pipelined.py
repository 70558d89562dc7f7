"""A model whose parts lie in several places, as one engine that many pictures are in at once."""

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines.lanes import check_canvases, portions
from engines.model_file import ModelFile
from engines.sub_model import SubModel, Tensors


class PipelinedEngine:
    """The first part here, the others behind `rest`, which returns the last one's tensors and may be called at once.

    At most `in_flight` batches are between the first part and the answer: a caller beyond that is not let in, as there
    are that many `streams`. The first part takes one batch at a time.
    """

    def __init__(self, file: ModelFile, first: SubModel, *, rest: Callable[[Tensors], Tensors], in_flight: int) -> None:
        self._file = file
        self._first = first
        self._rest = rest
        self._in_flight = in_flight
        self._turn = Lock()

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._file.spec

    @property
    def streams(self) -> int:
        """How many batches may be on their way."""
        return self._in_flight

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas; raises what a part on the way raised."""
        check_canvases(pixels, self.spec)
        batch = self._file.static_batch
        rows = [
            self._infer_portion(portion, batch or len(portion))[: len(portion)]
            for _, portion in portions(pixels, batch or max(len(pixels), 1))
        ]
        if not rows:
            raise ModelError("the model was given no picture")
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    def _infer_portion(self, portion: Sequence[NDArray[np.uint8]], batch: int) -> RawOutput:
        tensors = {self._file.input_name: network_input(portion, self.spec, batch=batch)}
        with self._turn:
            passed = self._first.run(tensors)
        output = np.asarray(self._rest(passed)[self._file.output_name], np.float32)
        if len(output) != batch:
            raise ModelError(f"the model gives {len(output)} rows for {batch} pictures")
        return output

    def close(self) -> None:
        """Wait for the first part; the others belong to those who run them."""
        with self._turn:
            del self._first


def network_input(pixels: Sequence[NDArray[np.uint8]], spec: ModelSpec, *, batch: int) -> NDArray[np.float32]:
    """Return `(batch, 3, H, W)`, scaled and in the model's channel order; places without a picture are zero."""
    planes = (0, 1, 2) if spec.channel_order == "rgb" else (2, 1, 0)
    tensor = np.zeros((batch, 3, spec.input_height_px, spec.input_width_px), np.float32)
    for place, canvas in zip(tensor, pixels, strict=False):
        for channel, plane in enumerate(planes):
            np.multiply(canvas[:, :, plane], np.float32(spec.scale), out=place[channel])
    return tensor
