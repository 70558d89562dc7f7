"""The row of buildings behind the street as a metric picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from load_tests.camfarm.geometry import Colour
from load_tests.camfarm.ground import Canvas, canvas, mottle
from load_tests.camfarm.lighting import Lighting

TOP_M = 12.0
_WALLS: tuple[Colour, ...] = (
    (164, 92, 74),
    (206, 186, 152),
    (150, 152, 150),
    (188, 160, 120),
    (122, 136, 146),
    (218, 206, 186),
    (140, 104, 88),
)
_AWNINGS: tuple[Colour, ...] = ((150, 40, 40), (36, 84, 70), (40, 60, 110), (190, 140, 50))
_SIGNS = ("CAFE", "BOOKS", "BAKERY", "OPTIK", "HOTEL", "RADIO", "FLORA", "TEA & CO", "CYCLES", "PHARMA")


@dataclass(frozen=True, slots=True, kw_only=True)
class _House:
    """A house between two x, in metres, with the picture it is drawn into; z grows down the rows from -TOP_M to 0."""

    sheet: Canvas
    light: Lighting
    rng: np.random.Generator
    x1: float
    x2: float

    def glass(self) -> Colour:
        """A pane: dark by day, often lit at dusk."""
        if self.light.is_dusk and self.rng.random() < 0.45:
            tone = float(self.rng.uniform(0.6, 1.0))
            return int(250 * tone), int(206 * tone), int(128 * tone)
        tone = int(self.rng.integers(54, 104))
        return self.light.paint((tone, tone + 10, tone + 20))

    def window(self, x: float, z: float, *, wide: float, high: float) -> None:
        """A window with frame, bars, sill and a shadow at its top."""
        paint, sheet = self.light.paint, self.sheet
        sheet.box(x - 0.07, -z - high - 0.07, x2=x + wide + 0.07, y2=-z + 0.07, colour=paint((230, 228, 220)))
        sheet.box(x, -z - high, x2=x + wide, y2=-z, colour=self.glass())
        if not self.light.is_dusk:
            sheet.box(x, -z - high, x2=x + wide, y2=-z - high * 0.86, colour=paint((44, 50, 56)))
        sheet.line(x + wide / 2, -z - high, x2=x + wide / 2, y2=-z, colour=paint((222, 220, 212)), wide_m=0.06)
        sheet.line(x, -z - high * 0.6, x2=x + wide, y2=-z - high * 0.6, colour=paint((222, 220, 212)), wide_m=0.05)
        sheet.box(x - 0.14, -z, x2=x + wide + 0.14, y2=-z + 0.12, colour=paint((196, 192, 182)))

    def door(self, x: float) -> None:
        """A front door with a step and a light above."""
        leaf: Colour = ((92, 58, 40), (44, 70, 60), (50, 54, 84))[self.rng.integers(3)]
        paint = self.light.paint
        self.sheet.box(x - 0.12, -2.5, x2=x + 1.12, y2=0.0, colour=paint((210, 206, 196)))
        self.sheet.box(x, -2.35, x2=x + 1.0, y2=-0.1, colour=paint(leaf))
        self.sheet.box(x + 0.15, -2.2, x2=x + 0.85, y2=-1.4, colour=self.glass())
        self.sheet.box(x - 0.2, -0.12, x2=x + 1.2, y2=0.0, colour=paint((150, 148, 142)))

    def shop(self, x1: float, x2: float) -> None:
        """A shop window with an awning and a sign."""
        paint, sheet, rng = self.light.paint, self.sheet, self.rng
        awning = _AWNINGS[rng.integers(len(_AWNINGS))]
        sheet.box(x1 - 0.1, -2.75, x2=x2 + 0.1, y2=0.0, colour=paint((70, 66, 62)))
        sheet.box(x1, -2.5, x2=x2, y2=-0.5, colour=self.glass())
        for x in np.arange(x1 + 0.3, x2 - 0.3, 0.55):
            high = float(rng.uniform(0.2, 0.9))
            red, green, blue = (int(part) for part in rng.integers(70, 200, 3))
            sheet.box(float(x), -0.5 - high, x2=float(x) + 0.3, y2=-0.5, colour=paint((red, green, blue), shade=0.7))
        for at, x in enumerate(np.arange(x1 - 0.15, x2 + 0.1, 0.4)):
            stripe = awning if at % 2 == 0 else (232, 228, 218)
            sheet.box(float(x), -2.95, x2=min(float(x) + 0.4, x2 + 0.15), y2=-2.4, colour=paint(stripe))
        sign: Colour = (255, 240, 200) if self.light.is_dusk else paint((240, 236, 224))
        sheet.box(x1, -3.45, x2=x2, y2=-2.98, colour=paint((46, 44, 44)))
        scale = 0.36 * sheet.px_per_m / 22.0
        spot = (round((x1 + 0.3 - sheet.left_m) * sheet.px_per_m), round((-3.06 - sheet.top_m) * sheet.px_per_m))
        word = _SIGNS[rng.integers(len(_SIGNS))]
        cv2.putText(
            sheet.pixels, word, spot, cv2.FONT_HERSHEY_SIMPLEX, scale, sign, max(1, round(scale * 2)), cv2.LINE_AA
        )


def _bricks(house: _House, wall: Colour, top_m: float) -> None:
    seam = house.light.paint(wall, shade=0.86)
    for at, z in enumerate(np.arange(0.0, top_m, 0.28)):
        house.sheet.line(house.x1, -float(z), x2=house.x2, y2=-float(z), colour=seam, wide_m=0.02)
        for x in np.arange(house.x1 + (0.3 if at % 2 else 0.0), house.x2, 0.6):
            house.sheet.line(float(x), -float(z) - 0.28, x2=float(x), y2=-float(z), colour=seam, wide_m=0.02)


def _draw(house: _House) -> None:
    rng, sheet, light = house.rng, house.sheet, house.light
    wall = _WALLS[rng.integers(len(_WALLS))]
    sheet.box(house.x1, -TOP_M, x2=house.x2, y2=0.0, colour=light.paint(wall))
    if rng.random() < 0.5:
        _bricks(house, wall, TOP_M)
    sheet.box(house.x1, -0.55, x2=house.x2, y2=0.0, colour=light.paint(wall, shade=0.62))
    sheet.box(house.x1, -3.75, x2=house.x2, y2=-3.55, colour=light.paint(wall, shade=1.15))
    step = float(rng.uniform(2.0, 2.6))
    for floor_m in (4.6, 7.8, 11.0):
        for x in np.arange(house.x1 + 0.7, house.x2 - 1.4, step):
            house.window(float(x), floor_m, wide=1.1, high=1.7)
    at = house.x1 + 0.5
    while at < house.x2 - 1.8:
        if rng.random() < 0.6 and house.x2 - at > 4.2:
            wide = float(rng.uniform(2.8, 3.6))
            house.shop(at, at + wide)
            at += wide + 0.5
        elif rng.random() < 0.45:
            house.door(at)
            at += 1.7
        else:
            house.window(at, 1.1, wide=1.1, high=1.5)
            at += 1.8
    sheet.line(house.x2, -TOP_M, x2=house.x2, y2=0.0, colour=light.paint((60, 58, 56)), wide_m=0.10)


def facade(seed: int, light: Lighting, *, span_m: tuple[float, float], px_per_m: float) -> Canvas:
    """The buildings between `span_m` (left, right); the picture's rows run from the eaves down to the ground."""
    left, right = span_m
    sheet = canvas(left, right, top_m=-TOP_M, bottom_m=0.0, px_per_m=px_per_m)
    rng = np.random.default_rng([seed, 801])
    x = -60.0
    while x < right:
        wide = float(rng.uniform(7.0, 12.0))
        # Drawn also when out of the picture, so that a house does not depend on what part of the row is asked for.
        _draw(_House(sheet=sheet, light=light, rng=np.random.default_rng(rng.integers(1 << 32)), x1=x, x2=x + wide))
        x += wide
    mottle(sheet.pixels, np.random.default_rng([seed, 802]), strength=0.03, grains=(4, 16))
    return sheet
