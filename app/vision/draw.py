"""Draws objects onto a picture: thin boxes, readable tags, one steady colour per identity."""

from collections.abc import Sequence
from typing import TypeAlias
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes, Pixels

Colour: TypeAlias = tuple[int, int, int]

_GOLDEN_TURN = 0.618034
"""Steps of the golden ratio round the colour circle keep neighbouring ids far apart in hue."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_CAP_PX = 21.0
"""Height of a capital of that font at scale 1."""
_SUBPIXEL_BITS = 4
_DARK, _LIGHT = (16, 16, 16), (250, 250, 250)


def draw_objects(
    rgb: Pixels,
    xyxy: Boxes,
    *,
    labels: Sequence[str],
    ids: Sequence[int | None] | NDArray[np.int64],
    scores: Sequence[float] | NDArray[np.float32],
) -> Pixels:
    """Return a copy of the picture with every box and its tag: label, `#id` unless it is None or -1, score in per cent.

    Tags come after all boxes, so none is crossed by a line; a tag that would leave the picture at the top goes inside.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    unit_px = max(min(canvas.shape[:2]) / 360, 1.0)
    tags = []
    for box, label, identity, score in zip(xyxy, labels, ids, scores, strict=True):
        number = -1 if identity is None else int(identity)
        colour = colour_of(number, label)
        _draw_box(canvas, box, colour=colour, unit_px=unit_px)
        name = label if number < 0 else f"{label} #{number}"
        tags.append((box, f"{name} {score:.0%}", colour))
    for box, text, colour in tags:
        _draw_tag(canvas, box, text=text, colour=colour, unit_px=unit_px)
    return canvas


def colour_of(identity: int, label: str) -> Colour:
    """Return the colour of an identity, or of the label where there is none (-1): the same in every process."""
    seed = identity if identity >= 0 else crc32(label.encode())
    hue = int(180 * (seed * _GOLDEN_TURN % 1))
    pixel = np.array([[[hue, 205, 245]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _draw_box(canvas: Pixels, box: NDArray[np.float32], *, colour: Colour, unit_px: float) -> None:
    """Draw one outline with a dark rim that lifts it off any background; small boxes get thin lines."""
    side_px = float(max(min(box[2] - box[0], box[3] - box[1]), 1.0))
    thickness_px = max(1, round(min(1.1 * unit_px, side_px / 12)))
    last = box - np.array([0, 0, 1, 1], np.float32)  # x2 and y2 are exclusive
    left, top, right, bottom = (round(float(edge) * (1 << _SUBPIXEL_BITS)) for edge in last)
    corners = ((left, top), (right, bottom))
    if thickness_px > 1:
        cv2.rectangle(canvas, *corners, _DARK, thickness_px + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.rectangle(canvas, *corners, colour, thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_tag(canvas: Pixels, box: NDArray[np.float32], *, text: str, colour: Colour, unit_px: float) -> None:
    """Draw the tag above the box's top left corner, in black or white, whichever reads better on the colour."""
    scale = 0.36 * unit_px**0.8
    thickness_px = max(1, round(1.1 * scale))
    (width_px, _), _ = cv2.getTextSize(text, _FONT, scale, thickness_px)
    pad_px = max(2, round(5 * scale))
    tag_width_px, tag_height_px = width_px + 2 * pad_px, round(_FONT_CAP_PX * scale) + 2 * pad_px
    left = max(min(round(float(box[0])), canvas.shape[1] - tag_width_px), 0)
    top = round(float(box[1])) - tag_height_px
    top = max(top if top >= 0 else round(float(box[1])), 0)
    cv2.rectangle(canvas, (left, top), (left + tag_width_px, top + tag_height_px), colour, cv2.FILLED)
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = _DARK if luma > 140 else _LIGHT  # noqa: PLR2004 - middle of the scale, slightly towards dark ink
    origin = (left + pad_px, top + tag_height_px - pad_px)
    cv2.putText(canvas, text, origin, _FONT, scale, ink, thickness_px, cv2.LINE_AA)
