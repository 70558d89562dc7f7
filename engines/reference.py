"""A detector without a model: finds blobs of strong colour, the same on every machine."""

from collections.abc import Sequence

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.core.model import Head, ModelSpec
from app.core.ports import RawOutput
from engines.lanes import check_canvases

LABELS = ("red", "green", "blue", "white")
MAX_ROWS = 300
"""Rows per picture, as in end-to-end YOLOs; those without a blob are zero."""
_MIN_SATURATION = 96  # strongest minus weakest channel; the letterbox's grey has none
_MIN_WHITE = 230  # weakest channel of a white blob
_MIN_AREA_PX = 16


class ReferenceEngine:
    """Finds 8-connected blobs that are red, green, blue (by their strongest channel) or white, each a tight box.

    The score is half of one plus half of the share of its box that the blob fills.
    """

    def __init__(self, *, width_px: int = 640, height_px: int = 640, streams: int = 1) -> None:
        self._streams = streams
        self._spec = ModelSpec(
            name="reference",
            version="1.0.0",
            labels=LABELS,
            head=Head.END_TO_END,
            input_width_px=width_px,
            input_height_px=height_px,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the detector finds."""
        return self._spec

    @property
    def streams(self) -> int:
        """How many concurrent calls are useful."""
        return self._streams

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return `(B, MAX_ROWS, 6)`: x1 y1 x2 y2 score label, best first."""
        check_canvases(pixels, self._spec)
        rows = np.zeros((len(pixels), MAX_ROWS, 6), np.float32)
        for row, canvas in zip(rows, pixels, strict=True):
            blobs = _blobs(canvas)
            best = np.argsort(-blobs[:, 4], kind="stable")[:MAX_ROWS]
            row[: len(best)] = blobs[best]
        return rows

    def close(self) -> None:
        """Nothing is held."""


def _blobs(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return `(n, 6)` rows of all blobs, label by label."""
    red, green, blue = cv2.split(rgb)
    high = cv2.max(cv2.max(red, green), blue)
    low = cv2.min(cv2.min(red, green), blue)
    is_vivid = _at_least(cv2.subtract(high, low), _MIN_SATURATION)
    found = []
    for label, channel in enumerate((red, green, blue)):
        mask = cv2.bitwise_and(is_vivid, cv2.compare(channel, high, cv2.CMP_EQ))
        is_vivid = cv2.subtract(is_vivid, mask)  # a tie of channels belongs to the first
        found.append(_boxes(mask, label=label))
    found.append(_boxes(_at_least(low, _MIN_WHITE), label=len(LABELS) - 1))
    return np.concatenate(found)


def _at_least(plane: MatLike, value: int) -> MatLike:
    """Return 255 where the plane has at least `value`, else 0."""
    return cv2.threshold(plane, value - 1, 255, cv2.THRESH_BINARY)[1]


def _boxes(mask: MatLike, *, label: int) -> NDArray[np.float32]:
    """Return `(n, 6)` rows of the blobs in one mask, in OpenCV's scan order."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = statistics[1:].astype(np.float32)  # the first is the background
    left, top, width, height, area = blobs[blobs[:, cv2.CC_STAT_AREA] >= _MIN_AREA_PX].T
    score = 0.5 + 0.5 * area / (width * height)
    return np.stack([left, top, left + width, top + height, score, np.full_like(score, label)], axis=1)
