"""The street's surface as a metric picture: pavements, lanes, markings, the zebra crossing."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from load_tests.camfarm.geometry import Colour
from load_tests.camfarm.lighting import Lighting

NEAR_M, FAR_M = 3.0, 23.2
_KERBS_M = (11.0, 19.9)
_LANE_LINES_M = (12.5, 18.3)
_MIDDLE_M = 15.4
_LIT_FROM_M = 12.0  # nearer than this the lamps of the far pavement add less than 1 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A picture of a plane: `pixels` (h, w, 3), its origin in metres and its resolution; the second axis grows down."""

    pixels: npt.NDArray[np.uint8]
    left_m: float
    top_m: float
    px_per_m: float

    def box(self, x1: float, y1: float, *, x2: float, y2: float, colour: Colour) -> None:
        """Fill a rectangle given in metres."""
        a, b = self._px(x1, y1), self._px(x2, y2)
        cv2.rectangle(self.pixels, a, (b[0] - 1, b[1] - 1), colour, cv2.FILLED)

    def line(self, x1: float, y1: float, *, x2: float, y2: float, colour: Colour, wide_m: float) -> None:
        """Draw a line given in metres."""
        thickness = max(1, round(wide_m * self.px_per_m))
        cv2.line(self.pixels, self._px(x1, y1), self._px(x2, y2), colour, thickness, cv2.LINE_AA)

    def disc(self, x: float, y: float, *, radius_m: float, colour: Colour) -> None:
        """Fill a disc given in metres."""
        cv2.circle(
            self.pixels, self._px(x, y), max(1, round(radius_m * self.px_per_m)), colour, cv2.FILLED, cv2.LINE_AA
        )

    def _px(self, x: float, y: float) -> tuple[int, int]:
        return round((x - self.left_m) * self.px_per_m), round((y - self.top_m) * self.px_per_m)

    def rows(self, y1: float, y2: float) -> npt.NDArray[np.uint8]:
        """The strip between two heights in metres, a view."""
        a, b = self._px(0, y1)[1], self._px(0, y2)[1]
        return self.pixels[max(0, a) : max(0, b)]


def canvas(left_m: float, right_m: float, *, top_m: float, bottom_m: float, px_per_m: float) -> Canvas:
    """An empty canvas over a rectangle of the plane."""
    size = (round((bottom_m - top_m) * px_per_m), round((right_m - left_m) * px_per_m), 3)
    return Canvas(pixels=np.zeros(size, np.uint8), left_m=left_m, top_m=top_m, px_per_m=px_per_m)


def mottle(
    pixels: npt.NDArray[np.uint8], rng: np.random.Generator, *, strength: float, grains: tuple[int, int]
) -> None:
    """Vary the brightness in place with cloudy noise of `grains` (rows, columns) coarse cells."""
    if pixels.size == 0:
        return
    height, width = pixels.shape[:2]
    clouds = np.zeros((height, width), np.float32)
    for octave in range(3):
        cells = rng.normal(0, strength / (1 + octave), (grains[0] << octave, grains[1] << octave)).astype(np.float32)
        clouds += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels[:] = (pixels.astype(np.float32) * (1 + clouds)[:, :, None]).clip(0, 255).astype(np.uint8)


def _pavement(sheet: Canvas, y1: float, y2: float, *, colour: Colour, seam: Colour, right_m: float) -> None:
    sheet.box(sheet.left_m, y1, x2=right_m, y2=y2, colour=colour)
    for y in np.arange(y1, y2, 0.75):
        sheet.line(sheet.left_m, float(y), x2=right_m, y2=float(y), colour=seam, wide_m=0.025)
    for x in np.arange(np.floor(sheet.left_m), right_m, 0.75):
        sheet.line(float(x), y1, x2=float(x), y2=y2, colour=seam, wide_m=0.025)


def _markings(sheet: Canvas, light: Lighting, *, crossing_x_m: float, right_m: float) -> None:
    white = light.paint((222, 222, 214))
    for y in _LANE_LINES_M:
        sheet.line(sheet.left_m, y, x2=right_m, y2=y, colour=white, wide_m=0.12)
    for x in np.arange(np.floor(sheet.left_m / 5) * 5, right_m, 5.0):
        if abs(x + 1.2 - crossing_x_m) > 4.0:
            sheet.line(float(x), _MIDDLE_M, x2=float(x) + 2.4, y2=_MIDDLE_M, colour=white, wide_m=0.13)
    for y in np.arange(_KERBS_M[0] + 0.35, _KERBS_M[1] - 0.5, 1.0):
        sheet.box(crossing_x_m - 1.6, float(y), x2=crossing_x_m + 1.6, y2=float(y) + 0.5, colour=white)


def _wear(sheet: Canvas, light: Lighting, rng: np.random.Generator, *, right_m: float) -> None:
    road = sheet.rows(*_KERBS_M)
    dark = road.astype(np.float32)
    y = np.linspace(_KERBS_M[0], _KERBS_M[1], len(road))
    tracks = sum(np.exp(-(((y - at) / 0.28) ** 2)) for at in (13.1, 14.7, 16.1, 17.7))
    road[:] = (dark * (1 - 0.10 * np.asarray(tracks))[:, None, None]).astype(np.uint8)
    for _ in range(7):
        x, at = float(rng.uniform(sheet.left_m, right_m)), float(rng.uniform(12.8, 18.0))
        wide, deep, tone = float(rng.uniform(0.8, 3.5)), float(rng.uniform(0.6, 1.6)), int(rng.integers(70, 100))
        sheet.box(x, at, x2=x + wide, y2=at + deep, colour=light.paint((tone, tone, tone + 3)))
    for _ in range(9):
        x, at = float(rng.uniform(sheet.left_m, right_m)), float(rng.uniform(11.5, 19.5))
        for _ in range(9):
            nx, ny = x + float(rng.normal(0.35, 0.25)), at + float(rng.normal(0, 0.18))
            sheet.line(x, at, x2=nx, y2=ny, colour=light.paint((62, 62, 64)), wide_m=0.025)
            x, at = nx, ny
    for _ in range(3):
        x, at = float(rng.uniform(sheet.left_m, right_m)), float(rng.choice([13.8, 16.9]))
        sheet.disc(x, at, radius_m=0.36, colour=light.paint((64, 62, 60)))
        sheet.disc(x, at, radius_m=0.29, colour=light.paint((84, 80, 76)))


def _lamp_light(sheet: Canvas, lamps_x_m: list[float]) -> None:
    strip = sheet.rows(_LIT_FROM_M, FAR_M)
    height, width = strip.shape[:2]
    x = sheet.left_m + np.arange(width, dtype=np.float32) / np.float32(sheet.px_per_m)
    y = _LIT_FROM_M + np.arange(height, dtype=np.float32) / np.float32(sheet.px_per_m)
    across = np.zeros(width, np.float32)
    for lamp in lamps_x_m:
        across += np.exp(-(((x - np.float32(lamp)) / np.float32(3.2)) ** 2))
    pool = (np.exp(-(((y - np.float32(19.6)) / np.float32(3.4)) ** 2)) * np.float32(0.9))[:, None] * across[None, :]
    for channel, warmth in enumerate((1.0, 0.82, 0.52)):
        gain = cv2.multiply(strip[:, :, channel], 1 + pool * np.float32(warmth), dtype=cv2.CV_8U)
        strip[:, :, channel] = gain


def ground(
    seed: int,
    light: Lighting,
    *,
    span_m: tuple[float, float],
    crossing_x_m: float,
    lamps_x_m: list[float],
    px_per_m: float,
) -> Canvas:
    """The ground between `span_m` (left, right) as a picture; y grows down the rows."""
    rng = np.random.default_rng([seed, 701])
    left, right = span_m
    sheet = canvas(left, right, top_m=NEAR_M, bottom_m=FAR_M, px_per_m=px_per_m)
    tone = int(rng.integers(84, 112))
    stone = int(rng.integers(140, 176))
    slab, seam = light.paint((stone, stone - 4, stone - 12)), light.paint((stone - 34, stone - 36, stone - 42))
    sheet.box(left, _KERBS_M[0], x2=right, y2=_KERBS_M[1], colour=light.paint((tone, tone, tone + 3)))
    tint: Colour = ((132, 78, 70), (76, 104, 82), (tone - 8, tone - 8, tone - 4))[rng.integers(3)]
    sheet.box(left, _KERBS_M[0], x2=right, y2=_LANE_LINES_M[0], colour=light.paint(tint))
    sheet.box(left, _LANE_LINES_M[1], x2=right, y2=_KERBS_M[1], colour=light.paint(tint))
    mottle(sheet.rows(*_KERBS_M), rng, strength=0.035, grains=(6, 24))
    _wear(sheet, light, rng, right_m=right)
    _markings(sheet, light, crossing_x_m=crossing_x_m, right_m=right)
    for y1, y2 in ((NEAR_M, _KERBS_M[0]), (_KERBS_M[1], FAR_M)):
        _pavement(sheet, y1, y2, colour=slab, seam=seam, right_m=right)
        mottle(sheet.rows(y1, y2), rng, strength=0.04, grains=(5, 24))
    for y in _KERBS_M:
        sheet.line(left, y, x2=right, y2=y, colour=light.paint((196, 194, 188)), wide_m=0.22)
        sheet.line(left, y + (0.14 if y < _MIDDLE_M else -0.14), x2=right, y2=y + (0.14 if y < _MIDDLE_M else -0.14),
                   colour=light.paint((70, 70, 70)), wide_m=0.06)  # fmt: skip
    if light.is_dusk:
        _lamp_light(sheet, lamps_x_m)
    return sheet
