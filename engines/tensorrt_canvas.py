"""Everything that an engine keeps ready for canvases of one size: a lane per batch and a ring of host buffers."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines.cuda.device import Device, HostMemory
from engines.cuda.pinned import PinnedRing, PinnedSlot
from engines.profiles import BatchShape, batches_for
from engines.tensorrt_lane import Lane, LaneParts

_SLOTS = 2
"""While the GPU reads and writes one, the next batch is written into the other."""


class CanvasLanes:
    """Lanes for canvases of `height_px` x `width_px`, batches 1, 2, 4 … up to the profiles' or `max_batch`.

    Made and closed on the GPU's thread; `run` is for any.
    """

    def __init__(self, parts: LaneParts, *, height_px: int, width_px: int, max_batch: int) -> None:
        self.lanes: list[Lane] = []
        self._parts = parts
        batches = _within(batches_for(parts.plan.profiles, height_px=height_px, width_px=width_px), max_batch)
        if not batches:
            raise ModelError(f"no optimisation profile takes canvases of {width_px} x {height_px} px")
        try:
            for batch in reversed(batches):  # the largest first: the others use its scratch memory
                shape = BatchShape(batch=batch, height_px=height_px, width_px=width_px)
                shared = self.lanes[0].scratch if self.lanes else None
                self.lanes.append(Lane(parts, shape, shared=shared))
            self._input_bytes = parts.plan.input_bytes(self.lanes[0].shape)
            size_bytes = self._input_bytes + max(lane.output_bytes for lane in self.lanes)
            self._ring = PinnedRing(HostMemory(parts.bindings), count=_SLOTS, size_bytes=size_bytes)
        except BaseException:
            self._close_lanes()
            raise

    @property
    def max_batch(self) -> int:
        """The largest batch that is run at once."""
        return self.lanes[0].shape.batch

    def run(self, pixels: Sequence[NDArray[np.uint8]], spec: ModelSpec) -> RawOutput:
        """Return one row per canvas, at most `max_batch`; a batch between two lanes' is padded up to the larger.

        The places behind it hold older pictures, whose rows are left out.
        """
        lane = min((lane for lane in self.lanes if lane.shape.batch >= len(pixels)), key=lambda lane: lane.shape.batch)
        device, plan = self._parts.device, self._parts.plan
        with self._ring.lease() as slot:
            source = slot.buffer[: plan.input_bytes(lane.shape)]
            write = _write_bytes if plan.takes_bytes else _write_planes
            write(source, pixels, plan.input_shape(lane.shape), spec)
            target = slot.buffer[self._input_bytes :]
            dims = device.call(_run, lane, slot, source, target, device)
            slot.synchronised()
            size_bytes = int(np.prod(dims)) * np.dtype(plan.output_type).itemsize
            rows = target[:size_bytes].view(plan.output_type).reshape(dims)
            return rows[: len(pixels)].astype(np.float32, copy=True)

    def _close_lanes(self) -> None:
        while self.lanes:
            self.lanes.pop().close()

    def close_lanes(self) -> None:
        """Give back what lies on the device."""
        self._close_lanes()

    def close_ring(self) -> None:
        """Give the host's buffers back."""
        self._ring.close()


def _within(batches: Sequence[int], max_batch: int) -> list[int]:
    """Return the batches up to `max_batch`, and that one itself where it lies between two; at least the smallest."""
    within = [batch for batch in batches if batch <= max_batch]
    if within and max_batch < batches[-1] and max_batch not in within:
        within.append(max_batch)
    return within or list(batches[:1])


def _run(
    lane: Lane, slot: PinnedSlot, source: NDArray[np.uint8], target: NDArray[np.uint8], device: Device
) -> tuple[int, ...]:
    """Run the lane on the GPU's thread; from here on the buffer is the stream's."""
    slot.used_by(lambda: device.call(device.synchronise))
    return lane.run(source, target)


def _write_bytes(
    target: NDArray[np.uint8], pixels: Sequence[NDArray[np.uint8]], shape: tuple[int, ...], spec: ModelSpec
) -> None:
    """Copy the canvases as they are: the graph scales them."""
    del spec
    for place, canvas in zip(target.reshape(shape), pixels, strict=False):
        np.copyto(place, canvas)


def _write_planes(
    target: NDArray[np.uint8], pixels: Sequence[NDArray[np.uint8]], shape: tuple[int, ...], spec: ModelSpec
) -> None:
    """Write scaled planes, for plans that were not built here."""
    order = (0, 1, 2) if spec.channel_order == "rgb" else (2, 1, 0)
    for place, canvas in zip(target.view(np.float32).reshape(shape), pixels, strict=False):
        planes = cv2.split(canvas)
        for channel, plane in enumerate(order):
            np.multiply(planes[plane], np.float32(spec.scale), out=place[channel])
