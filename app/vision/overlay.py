"""The preview of a live stream: its objects, lines, zones, counts and state drawn onto one picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.frame import Boxes, Pixels
from app.vision.draw import colour_of, draw_objects_on
from app.vision.lettering import DARK, LIGHT, Colour, Plate, Rect, unit_px

Points: TypeAlias = NDArray[np.float64]
"""`(n, 2)` x to the right and y down."""

_LINE: Colour = (255, 208, 58)
_FILL = 0.25
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMark:
    """A directed line, `points` `(2, 2)` from its start to its end, and its totals so far."""

    name: str
    points: Points
    forward: int
    backward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneMark:
    """A polygon of `(k, 2)` `corners`, how many are in it now and how many ever entered."""

    name: str
    corners: Points
    occupancy: int
    entered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What is drawn on one picture; all points and boxes are pixels of a picture of `width_px` by `height_px`.

    That is the source, which may be larger than the picture drawn on. `ids` and `scores` are as for `draw_objects`;
    `title` is the stream's label, `captured_at` UTC in seconds since 1970 where it is known, `status` a few words.
    """

    width_px: int
    height_px: int
    xyxy: Boxes
    labels: Sequence[str]
    ids: Sequence[int | None] | NDArray[np.int64]
    scores: Sequence[float] | NDArray[np.float32]
    lines: Sequence[LineMark] = ()
    zones: Sequence[ZoneMark] = ()
    title: str = ""
    captured_at: float | None = None
    status: str = ""


def draw_overlay(rgb: Pixels, overlay: Overlay) -> Pixels:
    """Return a copy of the picture with everything drawn.

    Zones lie below the objects and lines above them. Counts and the caption in the upper left corner are on top, and
    keep clear of each other where the picture has room.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    height_px, width_px = canvas.shape[:2]
    scale = np.array([width_px / overlay.width_px, height_px / overlay.height_px])
    for zone in overlay.zones:
        _draw_zone(canvas, zone.corners * scale, colour=colour_of(-1, zone.name))
    boxes = (overlay.xyxy * np.tile(scale, 2)).astype(np.float32)
    draw_objects_on(canvas, boxes, labels=overlay.labels, ids=overlay.ids, scores=overlay.scores)
    for line in overlay.lines:
        _draw_line(canvas, line.points * scale)
    taken = list(_caption(canvas, overlay))
    for line in overlay.lines:
        rows = [line.name, f"forward {line.forward}", f"backward {line.backward}"]
        taken.append(_beside_line(canvas, Plate(canvas, rows, tint=_LINE), line.points * scale, taken=taken))
    for zone in overlay.zones:
        rows = [zone.name, f"in {zone.occupancy}", f"entered {zone.entered}"]
        plate = Plate(canvas, rows, tint=colour_of(-1, zone.name))
        taken.append(_in_zone(canvas, plate, zone.corners * scale, taken=taken))
    return canvas


def _draw_zone(canvas: Pixels, corners: Points, *, colour: Colour) -> None:
    """Tint the polygon and draw its outline."""
    thickness_px = round(1.3 * unit_px(canvas))
    height_px, width_px = canvas.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [width_px - 1, height_px - 1])
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    part = canvas[top:bottom, left:right]  # of a large picture, only what the zone covers is touched
    shifted = _fixed(corners - np.array([left, top]))
    tinted = cv2.fillPoly(part.copy(), [shifted], colour, cv2.LINE_AA, _SUBPIXEL_BITS)
    part[:] = cv2.addWeighted(tinted, _FILL, part, 1 - _FILL, 0)
    for ink, wide_px in ((DARK, thickness_px + 2), (colour, thickness_px)):
        cv2.polylines(canvas, [_fixed(corners)], True, ink, wide_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_line(canvas: Pixels, points: Points) -> None:
    """Draw the line, a knob at each end, and at its middle an arrow the way that counts as forward."""
    unit = unit_px(canvas)
    along = points[1] - points[0]
    # Right of the line, seen along it, where y points down.
    forward = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    middle = points.mean(axis=0)
    arrow = _fixed(np.stack([middle, middle + 24 * unit * forward]))
    ends, radius = _fixed(points), round(3 * unit) << _SUBPIXEL_BITS
    thickness_px, rim_px = round(1.8 * unit), 2
    for ink, more_px in ((DARK, rim_px), (_LINE, 0)):
        wide_px = thickness_px + more_px
        cv2.line(canvas, ends[0], ends[1], ink, wide_px, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.arrowedLine(canvas, arrow[0], arrow[1], ink, wide_px, cv2.LINE_AA, _SUBPIXEL_BITS, 0.4)
        for end in ends:
            cv2.circle(
                canvas, end, radius + (more_px << _SUBPIXEL_BITS) // 2, ink, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS
            )


def _caption(canvas: Pixels, overlay: Overlay) -> Iterator[Rect]:
    """Say which stream this is, of when, and how it does; nothing where nothing is known."""
    rows = [row for row in (overlay.title, _utc(overlay.captured_at), overlay.status) if row]
    if rows:
        plate = Plate(canvas, rows, tint=LIGHT)
        margin_px = round(4 * unit_px(canvas))
        yield plate.draw(canvas, left=margin_px, top=margin_px)


def _beside_line(canvas: Pixels, plate: Plate, points: Points, *, taken: Sequence[Rect]) -> Rect:
    """Put the counts beside an end of the line, else beside its middle, right of it, left of it, above or below."""
    gap_px = 6 * unit_px(canvas)
    size = np.array([plate.width_px, plate.height_px])
    steps = np.array([[1, 0], [-1, 0], [0, -1], [0, 1]]) * (size / 2 + gap_px)
    anchors = (points[0] * 0.9 + points[1] * 0.1, points[0] * 0.1 + points[1] * 0.9, points.mean(axis=0))
    corners = [(float(x), float(y)) for anchor in anchors for x, y in anchor + steps - size / 2]
    return plate.draw_clear_of(canvas, taken, corners=corners)


def _in_zone(canvas: Pixels, plate: Plate, points: Points, *, taken: Sequence[Rect]) -> Rect:
    """Put the counts just inside of a corner of the zone, the upper left one first, else on its middle or outside."""
    middle, size = points.mean(axis=0), np.array([plate.width_px, plate.height_px])
    by_corner = points[np.argsort(points.sum(axis=1))]
    inwards = np.sign(middle - by_corner) * (size / 2 + 4 * unit_px(canvas))
    places = np.vstack([by_corner + inwards, middle, by_corner - inwards]) - size / 2
    corners = [(float(x), float(y)) for x, y in places]
    return plate.draw_clear_of(canvas, taken, corners=corners)


def _fixed(points: Points) -> NDArray[np.int32]:
    """Return the points as OpenCV's fixed-point numbers."""
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _utc(captured_at: float | None) -> str:
    """Return the time to the tenth of a second, nothing where it is unknown or no date."""
    if captured_at is None:
        return ""
    try:
        moment = datetime.fromtimestamp(captured_at, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 100_000} UTC"
