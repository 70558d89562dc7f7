"""Puts a picture on the model's canvas with its aspect kept, and takes boxes back to source pixels."""

from itertools import product
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np

from app.core.frame import Boxes, Frame, Letterbox, ModelInput, Pixels
from app.core.query import Query, Region

PAD_VALUE = 114
"""The grey that Ultralytics and YOLOX train with."""
TILE_OVERLAP = 0.2
"""Share of a tile that its neighbour sees too: objects up to that size are whole in at least one tile."""
_AREA_FROM_RATIO = 2.0
"""From this shrinking on, linear interpolation skips source pixels and aliases; area averaging does not."""
_WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class _Cut(NamedTuple):
    """A rectangle of the decoded picture, whole pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def needed_scale(
    source_width_px: int, source_height_px: int, *, query: Query, model_width_px: int, model_height_px: int
) -> float:
    """Return the factor, at most 1, by which a decoder may shrink the source without the model losing a pixel."""
    x1, y1, x2, y2 = query.roi or _WHOLE
    share = 1 / (1 + (query.tile - 1) * (1 - TILE_OVERLAP))
    width_px = max((x2 - x1) * source_width_px * share, 1.0)
    height_px = max((y2 - y1) * source_height_px * share, 1.0)
    return min(model_width_px / width_px, model_height_px / height_px, 1.0)


def fit(frame: Frame, *, width_px: int, height_px: int) -> ModelInput:
    """Return the frame on the model's canvas: one, or with `query.tile` n > 1 the whole view and then n x n tiles.

    The whole view stays beside the tiles because it alone holds objects larger than a tile. A frame that already has
    the canvas's size is passed on without a copy.
    """
    cuts = _cuts(frame)
    letterboxes = tuple(_letterbox(frame, cut, width_px=width_px, height_px=height_px) for cut in cuts)
    canvases = tuple(
        _canvas(frame.rgb[cut.top : cut.bottom, cut.left : cut.right], box, width_px=width_px, height_px=height_px)
        for cut, box in zip(cuts, letterboxes, strict=True)
    )
    return ModelInput(
        canvases=canvases,
        letterboxes=letterboxes,
        source_width_px=frame.source_width_px,
        source_height_px=frame.source_height_px,
        ref=frame.ref,
        query=frame.query,
        route=frame.route,
        urgency=frame.urgency,
        timings=frame.timings,
    )


def undo(xyxy_model: Boxes, letterbox: Letterbox) -> Boxes:
    """Return the boxes in source pixels, clipped to the letterbox's rectangle; one wholly outside has zero area."""
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2)
    pad = np.array([letterbox.pad_x_px, letterbox.pad_y_px] * 2)
    low = np.array([letterbox.offset_x_px, letterbox.offset_y_px] * 2)
    high = low + np.array([letterbox.width_px, letterbox.height_px] * 2)
    xyxy = (xyxy_model.astype(np.float64) - pad) / scale + low
    return np.asarray(np.clip(xyxy, low, high), dtype=np.float32)


def _span(low: float, high: float, *, size_px: int) -> tuple[int, int]:
    """Return the whole pixels that cover `[low, high)`, at least one of them and none outside the picture."""
    start = min(max(floor(low + 1e-6), 0), size_px - 1)
    return start, min(max(ceil(high - 1e-6), start + 1), size_px)


def _cuts(frame: Frame) -> list[_Cut]:
    """Return which rectangles of the decoded picture become a canvas each."""
    height_px, width_px = frame.rgb.shape[:2]
    x1, y1, x2, y2 = frame.query.roi or _WHOLE
    left, right = _span(x1 * width_px, x2 * width_px, size_px=width_px)
    top, bottom = _span(y1 * height_px, y2 * height_px, size_px=height_px)
    cuts = [_Cut(left, top, right, bottom)]
    if frame.query.tile > 1:
        columns = _tiles(left, right, count=frame.query.tile)
        rows = _tiles(top, bottom, count=frame.query.tile)
        cuts += [_Cut(x[0], y[0], x[1], y[1]) for y, x in product(rows, columns)]
    return cuts


def _tiles(start: int, stop: int, *, count: int) -> list[tuple[int, int]]:
    """Return `count` spans that cover `[start, stop)`, neighbours sharing `TILE_OVERLAP` of their length."""
    length = (stop - start) / (1 + (count - 1) * (1 - TILE_OVERLAP))
    starts = [start + index * length * (1 - TILE_OVERLAP) for index in range(count)]
    return [_span(low, low + length, size_px=stop) for low in starts]


def _letterbox(frame: Frame, cut: _Cut, *, width_px: int, height_px: int) -> Letterbox:
    """Return where the cut lies on the canvas; rounding of the size and the pad as in Ultralytics' LetterBox."""
    ratio_x = frame.source_width_px / frame.rgb.shape[1]
    ratio_y = frame.source_height_px / frame.rgb.shape[0]
    source_width_px, source_height_px = (cut.right - cut.left) * ratio_x, (cut.bottom - cut.top) * ratio_y
    scale = min(width_px / source_width_px, height_px / source_height_px)
    fitted_width_px = min(max(round(source_width_px * scale), 1), width_px)
    fitted_height_px = min(max(round(source_height_px * scale), 1), height_px)
    return Letterbox(
        scale_x=fitted_width_px / source_width_px,
        scale_y=fitted_height_px / source_height_px,
        pad_x_px=round((width_px - fitted_width_px) / 2 - 0.1),
        pad_y_px=round((height_px - fitted_height_px) / 2 - 0.1),
        offset_x_px=cut.left * ratio_x,
        offset_y_px=cut.top * ratio_y,
        width_px=source_width_px,
        height_px=source_height_px,
    )


def _canvas(view: Pixels, letterbox: Letterbox, *, width_px: int, height_px: int) -> Pixels:
    """Return the view on a canvas: resized straight into its place, grey only where the picture is not."""
    left, top = int(letterbox.pad_x_px), int(letterbox.pad_y_px)
    right = left + round(letterbox.width_px * letterbox.scale_x)
    bottom = top + round(letterbox.height_px * letterbox.scale_y)
    if view.shape[:2] == (height_px, width_px) and view.flags.c_contiguous:
        return view
    canvas = np.empty((height_px, width_px, 3), np.uint8)
    canvas[:top] = PAD_VALUE
    canvas[bottom:] = PAD_VALUE
    canvas[top:bottom, :left] = PAD_VALUE
    canvas[top:bottom, right:] = PAD_VALUE
    place = canvas[top:bottom, left:right]
    if view.shape == place.shape:
        place[:] = view
        return canvas
    ratio = max(view.shape[1] / place.shape[1], view.shape[0] / place.shape[0])
    interpolation = cv2.INTER_AREA if ratio >= _AREA_FROM_RATIO else cv2.INTER_LINEAR
    cv2.resize(view, (right - left, bottom - top), dst=place, interpolation=interpolation)
    return canvas
