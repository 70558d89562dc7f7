"""Things that stand still and hide others: lamp posts, trees, signs and advertising columns."""

from dataclasses import dataclass, replace

import numpy as np

from load_tests.camfarm.figure import Figure, Sheet, circle, ellipse, facing, limbs
from load_tests.camfarm.geometry import Array, Colour
from load_tests.camfarm.lighting import Lighting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Furniture:
    """A standing thing: where it stands and what is drawn; `shadow` are ground points (k, 3); lamps light up."""

    x_m: float
    y_m: float
    figure: Figure
    shadow: Array
    is_lamp: bool = False


def _lamp_post(light: Lighting) -> Sheet:
    starts = np.array([(0.0, 0.0), (0.0, 0.4), (0.0, 5.0), (0.6, 5.32)])
    ends = np.array([(0.0, 0.4), (0.0, 5.0), (0.6, 5.32), (1.05, 5.30)])
    radii = np.array([(0.13, 0.12), (0.075, 0.055), (0.05, 0.045), (0.08, 0.07)])
    steel = light.paint((92, 98, 102))
    glow: Colour = (255, 236, 190) if light.is_dusk else light.paint((210, 212, 210))
    lamp = np.array([(0.55, 5.24), (1.12, 5.22), (1.10, 5.30), (0.57, 5.32)])
    pole = limbs(starts, ends, radii=radii)
    return Sheet([*pole, lamp], [light.paint((70, 74, 78)), steel, steel, steel, glow], [True] * 5)


def _sign_post(rng: np.random.Generator, light: Lighting) -> Sheet:
    pole = limbs(np.array([(0.0, 0.0)]), np.array([(0.0, 2.5)]), radii=np.array([(0.04, 0.04)]))[0]
    face: Colour = ((30, 80, 170), (190, 30, 34), (240, 240, 236))[rng.integers(3)]
    disc = ellipse(0.0, 2.45, rx=0.33, ry=0.33, corners=16)
    rim = ellipse(0.0, 2.45, rx=0.36, ry=0.36, corners=16)
    bar = np.array([(-0.22, 2.38), (0.22, 2.38), (0.22, 2.52), (-0.22, 2.52)])
    colours = [light.paint(colour) for colour in ((120, 124, 126), (244, 244, 240), face, (244, 244, 240))]
    return Sheet([pole, rim, disc, bar], colours, [True, True, False, False])


def _column(rng: np.random.Generator, light: Lighting) -> Sheet:
    half = 0.55
    body = np.array([(-half, 0.0), (half, 0.0), (half, 2.7), (-half, 2.7)])
    roof = np.array([(-half - 0.1, 2.7), (half + 0.1, 2.7), (half * 0.5, 3.05), (-half * 0.5, 3.05)])
    shade = np.array([(half * 0.35, 0.0), (half, 0.0), (half, 2.7), (half * 0.35, 2.7)])
    sheets, colours = [body, roof], [light.paint((140, 146, 130)), light.paint((60, 84, 74))]
    for row in range(2):
        x0, z0 = float(rng.uniform(-0.48, -0.38)), 0.35 + 1.15 * row
        sheets.append(np.array([(x0, z0), (x0 + 0.78, z0), (x0 + 0.78, z0 + 1.0), (x0, z0 + 1.0)]))
        red, green, blue = (int(part) for part in rng.integers(60, 240, 3))
        colours.append(light.paint((red, green, blue)))
        sheets.append(
            np.array([(x0 + 0.1, z0 + 0.6), (x0 + 0.68, z0 + 0.6), (x0 + 0.68, z0 + 0.75), (x0 + 0.1, z0 + 0.75)])
        )
        colours.append(light.paint((245, 242, 230)))
    return Sheet([*sheets, shade], [*colours, light.paint((92, 98, 90))], [True, True] + [False] * 5)


def _tree(rng: np.random.Generator, light: Lighting) -> Sheet:
    height, wide = float(rng.uniform(4.6, 6.2)), float(rng.uniform(1.2, 1.7))
    trunk = limbs(
        np.array([(0.0, 0.0), (0.0, height * 0.45), (0.0, height * 0.45)]),
        np.array([(0.0, height * 0.6), (wide * 0.5, height * 0.66), (-wide * 0.5, height * 0.7)]),
        radii=np.array([(0.17, 0.11), (0.07, 0.04), (0.07, 0.04)]),
    )
    bark = light.paint((84, 66, 50))
    base = np.array([(62, 104, 48), (84, 112, 44), (54, 92, 58)][rng.integers(3)])
    angle = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    lumps = 1 + 0.13 * np.sin(5 * angle + rng.uniform(0, 6)) + 0.06 * rng.standard_normal(22)
    middle = height * 0.74
    crown = np.stack([wide * lumps * np.cos(angle), middle + height * 0.27 * lumps * np.sin(angle)], axis=1)
    sheets: list[Array] = [*trunk, crown]
    colours = [bark, bark, bark, light.paint((int(base[0] * 0.7), int(base[1] * 0.7), int(base[2] * 0.7)))]
    for blob in range(26):
        reach, turn = np.sqrt(rng.random()) * 0.72, rng.uniform(0, 2 * np.pi)
        x, z = wide * reach * np.cos(turn), middle + height * 0.27 * reach * np.sin(turn)
        size = float(rng.uniform(0.16, 0.34)) * (1.15 - blob / 40)
        sheets.append(ellipse(x, z + 0.1, rx=size * 1.1, ry=size * 0.8, corners=9))
        tone = float(rng.uniform(0.75, 1.25)) + 0.12 * np.sin(turn)
        colours.append(light.paint((int(base[0]), int(base[1]), int(base[2])), shade=tone))
    return Sheet(sheets, colours, [True] * 4 + [False] * 26)


def _place(sheet: Sheet, light: Lighting, *, x_m: float, y_m: float, reach_m: float, wide_m: float) -> Furniture:
    foot = np.column_stack([circle(12) * (0.18, 0.12), np.zeros(12)])
    head = foot * (wide_m / 0.18) + np.array([light.shadow_xy[0], light.shadow_xy[1], 0.0]) * reach_m
    shadow = np.concatenate([foot, head]) + np.array([x_m, y_m, 0.0])
    return Furniture(x_m=x_m, y_m=y_m, figure=sheet.stand(x_m, y_m, right=facing(x_m, y_m)), shadow=shadow)


def furniture(seed: int, light: Lighting) -> list[Furniture]:
    """What stands on a seed's street: lamps always; trees, signs and a column by chance."""
    rng = np.random.default_rng([seed, 401])
    start = float(rng.uniform(-6, 6))
    lamp = _lamp_post(light)
    found = [
        replace(_place(lamp, light, x_m=start + step, y_m=20.1, reach_m=2.5, wide_m=0.1), is_lamp=True)
        for step in (-24.0, -8.0, 8.0, 24.0)
    ]
    if rng.random() < 0.5:
        found.append(_place(lamp, light, x_m=float(rng.uniform(-4, 4)), y_m=10.9, reach_m=2.5, wide_m=0.1))
    for step in range(-3, 4):
        if rng.random() < 0.55:
            x = start + 7.0 * step + float(rng.uniform(2.5, 4.5))
            found.append(_place(_tree(rng, light), light, x_m=x, y_m=20.15, reach_m=3.0, wide_m=1.1))
    found += [
        _place(_sign_post(rng, light), light, x_m=float(rng.uniform(-7, 7)), y_m=y, reach_m=2.3, wide_m=0.12)
        for y in (10.9, 20.1)
        if rng.random() < 0.6
    ]
    if rng.random() < 0.35:
        found.append(
            _place(_column(rng, light), light, x_m=float(rng.uniform(-10, 10)), y_m=20.6, reach_m=2.0, wide_m=0.5)
        )
    return found
