"""What one version of a model does with its batches, as metrics."""

from collections.abc import Sequence

from app.core import metrics as table
from app.core.frame import Pixels
from app.core.metrics import Metrics
from app.core.model import ModelSpec


class ServingMetrics:
    """The numbers of one version; a handful for each batch, one for each frame."""

    def __init__(self, metrics: Metrics, spec: ModelSpec) -> None:
        self._metrics = metrics
        self._spec = spec
        self._labels = spec.name, spec.version

    def waited(self, queue_s: float) -> None:
        """A frame was answered that had waited so long for its batch to begin."""
        self._metrics.observe(table.DETECTOR_WAIT, self._labels, value=queue_s)

    def inferred(self, canvases: Sequence[Pixels], *, spent_s: float) -> None:
        """The engine has answered for these canvases, in so many seconds."""
        batch = str(1 << (len(canvases) - 1).bit_length())
        self._metrics.observe(table.DETECTOR_INFERENCE, (*self._labels, batch), value=spent_s)
        self._metrics.observe(table.DETECTOR_BATCH, self._labels, value=len(canvases))
        self._metrics.count(table.DETECTOR_COPIED, by=sum(canvas.nbytes for canvas in canvases))

    def found(self, frames: int, *, spent_s: float) -> None:
        """So many frames have their objects, after so many seconds since their rows were there."""
        self._metrics.count(table.DETECTOR_FRAMES, self._labels, by=frames)
        self._metrics.observe(table.DETECTOR_POSTPROCESS, self._labels, value=spent_s)

    def refused(self, canvases: Sequence[Pixels]) -> None:
        """The engine has refused the canvases of one frame; counted when their shape is not the model's."""
        shape = self._spec.input_height_px, self._spec.input_width_px
        if any(canvas.shape[:2] != shape for canvas in canvases):
            self._metrics.count(table.DETECTOR_MISMATCHES, self._labels)
