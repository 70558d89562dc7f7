"""The memory of this process's GPU, promised to models before anything of them is there."""

from collections.abc import Callable
from threading import Lock
from typing import Final

from app.core.model import ModelSpec
from app.policy.vram_ledger import MIB, VramLedger, VramLimits, VramNeed

_CONTEXT_BYTES: Final = 512 * MIB
"""The driver's context of the model's process, and the runtime's workspace; assumed."""
_BYTES_PER_PIXEL: Final = 96
"""Activations for each pixel of a canvas. With the context that makes the 1.8 GB of eight canvases of 1280 x 1280 that
MISSION row 71 gives for a YOLOv8; a model that needs more is halved in its batches until it fits."""


def estimated_need(spec: ModelSpec, *, file_bytes: int, max_batch: int) -> VramNeed:
    """Return what a model takes with batches of `max_batch`; its weights are no larger than its file."""
    canvas_px = spec.input_width_px * spec.input_height_px
    return VramNeed(
        model=spec.name,
        weights_bytes=file_bytes + _CONTEXT_BYTES,
        activations_bytes=(max_batch * canvas_px * _BYTES_PER_PIXEL,),
    )


class VramAccount:
    """A ledger for several threads, since versions are loaded side by side."""

    def __init__(self, total_bytes: int) -> None:
        self._ledger = VramLedger(VramLimits(total_bytes=total_bytes))
        self._lock = Lock()

    @property
    def free_bytes(self) -> int:
        """What may still be promised."""
        with self._lock:
            return self._ledger.free_bytes

    def promise(self, need: VramNeed) -> Callable[[], None]:
        """Return what takes the promise back, harmless when repeated; DeviceMemoryError when there is too little."""
        with self._lock:
            lease = self._ledger.reserve(need)

        def release() -> None:
            with self._lock:
                self._ledger.release(lease)

        return release
