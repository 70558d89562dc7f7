"""Where the confirmed tracks of one frame stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.analytics.geometry import Floats
from app.core.frame import FrameRef, Tracks


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The confirmed tracks of one frame, by rising `track_id` `(n,)`: where they stand, how tall, which class.

    `xy` `(n, 2)` are the bottom centres of the boxes in source pixels, kept half a pixel within the right and lower
    rim: a box cut off by the rim ends on it, and would else lie in no zone. `height_px` `(n,)` are the boxes' heights.
    """

    track_id: NDArray[np.int64]
    xy: Floats
    height_px: Floats
    label: tuple[str, ...]
    at_s: float
    ref: FrameRef
    size_px: tuple[int, int]


def anchors(tracks: Tracks, labels: Sequence[str], *, at_s: float) -> Anchors:
    """The anchors of `tracks` at `at_s` stream seconds; unconfirmed rows and boxes that are not finite are left out.

    `labels[i]` names class i; IndexError for a class beyond them.
    """
    found = tracks.detections
    is_known = (tracks.track_id >= 0) & np.isfinite(found.xyxy).all(axis=1)
    rows = np.flatnonzero(is_known)
    rows = rows[np.argsort(tracks.track_id[rows], kind="stable")]
    x1, y1, x2, y2 = found.xyxy[rows].astype(np.float64).T
    size_px = (found.source_width_px, found.source_height_px)
    return Anchors(
        track_id=tracks.track_id[rows],
        xy=np.clip(np.stack([(x1 + x2) / 2, y2], axis=1), 0.0, np.array(size_px) - 0.5),
        height_px=y2 - y1,
        label=tuple(labels[number] for number in found.label[rows].tolist()),
        at_s=at_s,
        ref=tracks.ref,
        size_px=size_px,
    )
