"""Text on a picture: on a ground of its own, of a size that fits the picture, and never outside of it."""

import math
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from app.core.frame import Pixels

Colour: TypeAlias = tuple[int, int, int]

DARK, LIGHT = (16, 16, 16), (250, 250, 250)
_LETTER_PX = 11.0
"""The least height of letters that can be read without effort on a small preview."""
_WEIGHT = 600
_MAX_CHARACTERS = 80
_ELLIPSIS = "…"
_TINTED_OPACITY = 0.8
"""On this ground every tint keeps a contrast of 4.5:1 or more, over white too. Source: WCAG 2.2, 1.4.3."""
_MIDDLE_LUMINANCE = 0.19
"""Of a ground on which black and white letters read equally well."""


class Rect(NamedTuple):
    """Whole pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def shared_px(self, other: "Rect") -> int:
        """How many pixels the two share."""
        width_px = min(self.right, other.right) - max(self.left, other.left)
        height_px = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width_px, 0) * max(height_px, 0)


class _Faces(threading.local):
    """The font of each thread: drawing sets its weight, and with one font for all, letters come out wrong."""

    def __init__(self) -> None:
        self.sans = cv2.FontFace("sans")


_FACES = _Faces()


def unit_px(canvas: Pixels) -> float:
    """Return how many pixels a thin line has on this picture, 1 or more, not rounded."""
    height_px, width_px = canvas.shape[:2]
    return float(max(min(height_px, width_px) / 360, 1.0))


class Plate:
    """Rows of text on a ground, measured for one picture: what does not fit across the picture ends in `…`.

    The letters are black or white, whichever reads better on the ground; with `tint`, white with some of that colour
    on a ground that is dark and lets a little of the picture through.
    """

    def __init__(
        self, canvas: Pixels, rows: Sequence[str], *, ground: Colour = DARK, tint: Colour | None = None
    ) -> None:
        self._size_px = round(_LETTER_PX * math.pow(unit_px(canvas), 0.8))
        self._pad_px = max(2, self._size_px // 5)
        self._ground, self._opacity = (ground, 1.0) if tint is None else (DARK, _TINTED_OPACITY)
        self._ink = DARK if _luminance(ground) > _MIDDLE_LUMINANCE else LIGHT
        if tint is not None:
            self._ink = (_paled(tint[0]), _paled(tint[1]), _paled(tint[2]))
        room_px = canvas.shape[1] - 2 * self._pad_px
        self._rows = [self._shortened(_printable(row), room_px=room_px) for row in rows]
        self.width_px = max((self._width_px(row) for row in self._rows), default=0) + 2 * self._pad_px
        self.height_px = len(self._rows) * self._row_px + 2 * self._pad_px

    def draw(self, canvas: Pixels, *, left: float, top: float) -> Rect:
        """Draw with the upper left corner there, or as near as the picture allows; what was covered."""
        place = self.placed(canvas, left=left, top=top)
        under = canvas[place.top : place.bottom, place.left : place.right]
        if self._opacity < 1:
            under[:] = under * (1 - self._opacity) + np.array(self._ground) * self._opacity
        else:
            under[:] = self._ground
        # A capital is 0.7 of the size high; with that the letters stand in the middle of their row.
        baseline = place.top + self._pad_px + round(0.5 * self._row_px + 0.35 * self._size_px)
        for number, row in enumerate(self._rows):
            origin = (place.left + self._pad_px, baseline + number * self._row_px)
            cv2.putText(canvas, row, origin, self._ink, _FACES.sans, self._size_px, _WEIGHT)
        return place

    def draw_clear_of(self, canvas: Pixels, taken: Sequence[Rect], *, corners: Iterable[tuple[float, float]]) -> Rect:
        """Draw at that of these upper left corners where it covers least of what is taken, the first of equals."""
        places = [self.placed(canvas, left=left, top=top) for left, top in corners]
        best = min(places, key=lambda place: sum(place.shared_px(other) for other in taken))
        return self.draw(canvas, left=best.left, top=best.top)

    def placed(self, canvas: Pixels, *, left: float, top: float) -> Rect:
        """Return where it would stand."""
        height_px, width_px = canvas.shape[:2]
        x = max(min(round(left), width_px - self.width_px), 0)
        y = max(min(round(top), height_px - self.height_px), 0)
        return Rect(x, y, min(x + self.width_px, width_px), min(y + self.height_px, height_px))

    @property
    def _row_px(self) -> int:
        return round(1.25 * self._size_px)

    def _width_px(self, text: str) -> int:
        if not text:
            return 0
        return int(cv2.getTextSize((0, 0), text, (0, 0), _FACES.sans, self._size_px, _WEIGHT)[2])

    def _shortened(self, text: str, *, room_px: int) -> str:
        kept = text[:_MAX_CHARACTERS]
        shown = kept if kept == text else kept + _ELLIPSIS
        while kept and self._width_px(shown) > room_px:
            kept = kept[:-1]
            shown = kept + _ELLIPSIS
        return shown


def _luminance(colour: Colour) -> float:
    """Return the relative luminance in [0, 1]. Source: WCAG 2.2, with the exponent 2.2 for sRGB's curve."""
    red, green, blue = (math.pow(part / 255, 2.2) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _paled(part: int) -> int:
    return (part + 2 * LIGHT[0]) // 3


def _printable(text: str) -> str:
    """Blanks in place of line ends, control characters and halves of surrogate pairs, which cannot be drawn."""
    return "".join(character if character.isprintable() else " " for character in text)
