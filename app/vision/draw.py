"""Draws objects onto a picture: thin boxes, readable tags, one steady colour per identity."""

from collections.abc import Sequence
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes, Pixels
from app.vision.lettering import DARK, Colour, Plate, unit_px

_GOLDEN_TURN = 0.618034
"""Steps of the golden ratio round the colour circle keep neighbouring ids far apart in hue."""
_SUBPIXEL_BITS = 4
_BEYOND_PX = 64.0
"""How far outside of the picture a box is still drawn: no line shows from there, and OpenCV takes no large numbers."""


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
    A box with a coordinate that is not finite is left out.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    draw_objects_on(canvas, xyxy, labels=labels, ids=ids, scores=scores)
    return canvas


def draw_objects_on(
    canvas: Pixels,
    xyxy: Boxes,
    *,
    labels: Sequence[str],
    ids: Sequence[int | None] | NDArray[np.int64],
    scores: Sequence[float] | NDArray[np.float32],
) -> None:
    """Draw the same onto a picture that may be written to."""
    height_px, width_px = canvas.shape[:2]
    high = np.array([width_px, height_px, width_px, height_px]) + _BEYOND_PX
    tags = []
    for box, label, identity, score in zip(xyxy, labels, ids, scores, strict=True):
        if not np.isfinite(box).all():
            continue
        number = -1 if identity is None else int(identity)
        colour = colour_of(number, label)
        edges = np.clip(box, -_BEYOND_PX, high)
        _draw_box(canvas, edges, colour=colour)
        name = label if number < 0 else f"{label} #{number}"
        tags.append((edges, f"{name} {score:.0%}", colour))
    for edges, text, colour in tags:
        plate = Plate(canvas, [text], ground=colour)
        top = edges[1] - plate.height_px
        plate.draw(canvas, left=edges[0], top=top if top >= 0 else edges[1])


def colour_of(identity: int, label: str) -> Colour:
    """Return the colour of an identity, or of the label where there is none (-1): the same in every process."""
    seed = identity if identity >= 0 else crc32(label.encode(errors="replace"))
    hue = int(180 * (seed * _GOLDEN_TURN % 1))
    pixel = np.array([[[hue, 205, 245]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _draw_box(canvas: Pixels, box: NDArray[np.float64], *, colour: Colour) -> None:
    """Draw one outline with a dark rim that lifts it off any background; small boxes get thin lines."""
    side_px = float(max(min(box[2] - box[0], box[3] - box[1]), 1.0))
    thickness_px = max(1, round(min(1.1 * unit_px(canvas), side_px / 12)))
    last = box - np.array([0, 0, 1, 1], np.float64)  # x2 and y2 are exclusive
    left, top, right, bottom = (round(float(edge) * (1 << _SUBPIXEL_BITS)) for edge in last)
    corners = ((left, top), (right, bottom))
    if thickness_px > 1:
        cv2.rectangle(canvas, *corners, DARK, thickness_px + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.rectangle(canvas, *corners, colour, thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)
