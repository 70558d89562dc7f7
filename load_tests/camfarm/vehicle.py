"""Cars and trucks as meshes."""

import numpy as np

from load_tests.camfarm.figure import circle
from load_tests.camfarm.geometry import Array, Colour
from load_tests.camfarm.lighting import Lighting
from load_tests.camfarm.mesh import Mesh, MeshPen, inset

_PAINT: tuple[Colour, ...] = (
    (196, 36, 40),
    (36, 70, 150),
    (232, 232, 230),
    (168, 172, 176),
    (60, 64, 70),
    (22, 24, 28),
    (40, 110, 84),
    (214, 168, 52),
    (128, 30, 48),
    (110, 150, 186),
)
_CARGO: tuple[Colour, ...] = (
    (238, 238, 234),
    (208, 180, 60),
    (60, 100, 160),
    (190, 70, 50),
    (120, 150, 120),
    (210, 204, 190),
)
_GLASS: Colour = (52, 66, 80)
_GLINT: Colour = (112, 132, 150)
_RUBBER: Colour = (24, 24, 26)
_RIM: Colour = (176, 178, 182)


def _quad(a: Array, b: Array, *, half_a: float, half_b: float) -> Array:
    """The face between two profile points (2,) of (ahead, up), from side to side."""
    return np.array([(a[0], half_a, a[1]), (a[0], -half_a, a[1]), (b[0], -half_b, b[1]), (b[0], half_b, b[1])])


def _shell(pen: MeshPen, profile: Array, *, halves: Array, colour: Colour) -> list[Array]:
    """Add the faces across a body whose outline runs over the top from rear to front; returns them in order."""
    middle = np.array([profile[:, 0].mean(), 0.0, profile[:, 1].min()])
    quads = []
    for at in range(len(profile) - 1):
        quad = _quad(profile[at], profile[at + 1], half_a=halves[at], half_b=halves[at + 1])
        outward = quad.mean(axis=0) - middle
        pen.face(quad, colour, outward=(float(outward[0]), 0.0, float(outward[2]) + 0.2))
        quads.append(quad)
    return quads


def _wheel(pen: MeshPen, x: float, *, radius: float, half: float) -> None:
    rim = circle(18)
    hub = np.array([x, radius])
    arch = rim * (radius * 1.18) + hub
    arch = arch[arch[:, 1] > radius * 0.7]
    sides = np.full(18, half)
    pen.both_sides(arch, (18, 18, 20), half_widths=sides[: len(arch)], layer=2)
    pen.both_sides(rim * radius + hub, _RUBBER, half_widths=sides, layer=1)
    pen.both_sides(rim * (radius * 0.62) + hub, _RIM, half_widths=sides, layer=4)
    pen.both_sides(rim * (radius * 0.44) + hub, (70, 72, 76), half_widths=sides, layer=5)
    pen.both_sides(rim[::3] * (radius * 0.18) + hub, _RIM, half_widths=sides[:6], layer=6)


def _wheel_again(pen: MeshPen, x: float, *, radius: float, half: float) -> None:
    """The tyre once more above the body's side, so that the arch does not hide it."""
    pen.both_sides(circle(18) * radius + (x, radius), _RUBBER, half_widths=np.full(18, half), layer=3)


def _lamps(pen: MeshPen, x: float, *, z: float, half: float, is_front: bool) -> None:
    glow = pen.light.is_dusk
    lit: Colour = (255, 246, 214) if is_front else (240, 40, 30)
    dull: Colour = (226, 228, 226) if is_front else (150, 24, 24)
    ahead = 1.0 if is_front else -1.0
    for side in (1.0, -1.0):
        y0, y1 = side * half * 0.92, side * half * 0.58
        corners = [(x, y0, z - 0.07), (x, y1, z - 0.06), (x, y1, z + 0.06), (x, y0, z + 0.08)]
        pen.face(corners, lit if glow else dull, outward=(ahead, 0.0, 0.0), layer=3, glow=glow)


def car(rng: np.random.Generator, light: Lighting) -> Mesh:
    """A random saloon, hatchback or estate."""
    paint = _PAINT[rng.integers(len(_PAINT))]
    style = int(rng.integers(3))
    length = float(rng.uniform(4.2, 4.8) if style != 1 else rng.uniform(3.8, 4.2))
    half, roof = float(rng.uniform(0.86, 0.93)), float(rng.uniform(1.42, 1.56)) + (0.12 if style == 2 else 0.0)
    tail, nose = -length / 2, length / 2
    boot, slope = ((0.72, 0.62), (0.12, 0.42), (0.08, 0.22))[style]
    pen = MeshPen(light)
    body = np.array([(tail, 0.30), (tail - 0.02, 0.62), (tail + 0.06, 0.94), (tail + boot, 0.99), (nose - 1.25, 0.96),
                     (nose - 0.14, 0.76), (nose + 0.02, 0.56), (nose, 0.28)])  # fmt: skip
    _shell(pen, body, halves=np.full(len(body), half), colour=paint)
    pen.both_sides(body, paint, half_widths=np.full(len(body), half), layer=1)
    cabin = np.array(
        [(tail + boot - 0.04, 0.97), (tail + boot + slope, roof), (nose - 2.05, roof), (nose - 1.18, 0.95)]
    )
    halves = np.array([half * 0.97, half * 0.80, half * 0.80, half * 0.97])
    panes = _shell(pen, cabin, halves=halves, colour=paint)
    pen.both_sides(cabin, paint, half_widths=halves, layer=1)
    for pane, ahead in ((panes[0], -1.0), (panes[2], 1.0)):
        pen.face(inset(pane, 0.16), _GLASS, outward=(ahead, 0.0, 0.5), layer=2)
        glint = inset(pane, 0.16)
        glint = np.array([glint[0], glint[0] * 0.7 + glint[1] * 0.3, glint[3] * 0.5 + glint[2] * 0.5, glint[3]])
        pen.face(glint, _GLINT, outward=(ahead, 0.0, 0.5), layer=3)
    _car_details(pen, cabin, halves=halves, nose=nose, tail=tail, half=half)
    for x in (tail + 0.80, nose - 0.88):
        _wheel(pen, x, radius=0.33, half=half)
        _wheel_again(pen, x, radius=0.33, half=half)
    corners = [
        (x, y, z)
        for z, inside in ((0.0, 0.0), (roof * 0.9, 0.9))
        for x in (tail + inside, nose - inside)
        for y in (half, -half)
    ]
    return pen.mesh(np.array(corners))


def _car_details(pen: MeshPen, cabin: Array, *, halves: Array, nose: float, tail: float, half: float) -> None:
    low, high = cabin[0, 1] + 0.05, cabin[1, 1] - 0.09

    def edge(z: float, *, is_front: bool) -> float:
        a, b = (cabin[3], cabin[2]) if is_front else (cabin[0], cabin[1])
        return float(a[0] + (b[0] - a[0]) * (z - a[1]) / (b[1] - a[1]))

    pillar = (edge(high, is_front=True) + edge(high, is_front=False)) / 2
    wide = np.interp([low, high, high, low], [cabin[0, 1], cabin[1, 1]], [halves[0], halves[1]])
    rear = np.array([(edge(low, is_front=False) + 0.14, low), (edge(high, is_front=False) + 0.06, high),
                     (pillar - 0.05, high), (pillar - 0.05, low)])  # fmt: skip
    front = np.array([(pillar + 0.05, low), (pillar + 0.05, high), (edge(high, is_front=True) - 0.05, high),
                      (edge(low, is_front=True) - 0.16, low)])  # fmt: skip
    pen.both_sides(rear, _GLASS, half_widths=wide, layer=2)
    pen.both_sides(front, _GLASS, half_widths=wide, layer=2)
    sides = np.full(4, half)
    sill = np.array([(tail + 0.1, 0.29), (tail + 0.1, 0.40), (nose - 0.1, 0.40), (nose - 0.1, 0.29)])
    pen.both_sides(sill, (34, 34, 36), half_widths=sides, layer=2)
    for x in (pillar, pillar + 1.02):
        seam = np.array([(x - 0.012, 0.42), (x - 0.012, 0.93), (x + 0.012, 0.93), (x + 0.012, 0.42)])
        pen.both_sides(seam, (40, 40, 42), half_widths=sides, layer=2)
    handle = np.array([(pillar + 0.06, 0.80), (pillar + 0.06, 0.84), (pillar + 0.26, 0.84), (pillar + 0.26, 0.80)])
    pen.both_sides(handle, (200, 202, 204), half_widths=sides, layer=2)
    _lamps(pen, nose + 0.021, z=0.63, half=half, is_front=True)
    _lamps(pen, tail - 0.021, z=0.74, half=half, is_front=False)
    for x, ahead in ((nose + 0.022, 1.0), (tail - 0.022, -1.0)):
        plate = [(x, 0.26, 0.42), (x, -0.26, 0.42), (x, -0.26, 0.53), (x, 0.26, 0.53)]
        pen.face(plate, (236, 236, 226), outward=(ahead, 0.0, 0.0), layer=3)


def truck(rng: np.random.Generator, light: Lighting) -> Mesh:
    """A random box truck or tarpaulin truck."""
    paint, cargo = _PAINT[rng.integers(len(_PAINT))], _CARGO[rng.integers(len(_CARGO))]
    stripe = _PAINT[rng.integers(len(_PAINT))]
    length, half = float(rng.uniform(6.6, 8.0)), 1.2
    top, cab = float(rng.uniform(2.9, 3.3)), float(rng.uniform(2.35, 2.65))
    tail, nose = -length / 2, length / 2
    pen = MeshPen(light)
    load = np.array([(tail, 0.95), (tail, top), (nose - 2.0, top), (nose - 2.0, 0.95)])
    _shell(pen, load, halves=np.full(4, half), colour=cargo)
    pen.both_sides(load, cargo, half_widths=np.full(4, half), layer=1)
    chassis = np.array([(tail + 0.1, 0.48), (tail + 0.1, 0.97), (nose - 1.7, 0.97), (nose - 1.7, 0.48)])
    pen.both_sides(chassis, (46, 46, 50), half_widths=np.full(4, half * 0.96), layer=1)
    pen.face(
        _quad(chassis[0], chassis[1], half_a=half * 0.9, half_b=half * 0.9), (40, 40, 44), outward=(-1.0, 0.0, 0.0)
    )
    cabin = np.array([(nose - 1.88, 0.42), (nose - 1.88, cab), (nose - 0.35, cab), (nose - 0.02, 1.45), (nose, 0.40)])
    panes = _shell(pen, cabin, halves=np.full(5, half * 0.97), colour=paint)
    pen.both_sides(cabin, paint, half_widths=np.full(5, half * 0.97), layer=1)
    pen.face(inset(panes[2], 0.12), _GLASS, outward=(1.0, 0.0, 0.2), layer=2)
    window = np.array([(nose - 1.35, 1.5), (nose - 1.35, cab - 0.22), (nose - 0.52, cab - 0.22), (nose - 0.22, 1.5)])
    pen.both_sides(window, _GLASS, half_widths=np.full(4, half * 0.98), layer=2)
    door = np.array([(nose - 1.45, 0.6), (nose - 1.45, cab - 0.15), (nose - 1.42, cab - 0.15), (nose - 1.42, 0.6)])
    pen.both_sides(door, (40, 40, 42), half_widths=np.full(4, half * 0.98), layer=2)
    _truck_load(pen, load, stripe=stripe, half=half, is_tarp=bool(rng.random() < 0.4))
    for x in (tail + 0.9, tail + 1.95, nose - 1.0):
        _wheel(pen, x, radius=0.48, half=half)
        _wheel_again(pen, x, radius=0.48, half=half)
    _lamps(pen, nose + 0.02, z=0.78, half=half, is_front=True)
    _lamps(pen, tail - 0.02, z=0.86, half=half, is_front=False)
    corners = [(x, y, z) for z in (0.0, top * 0.95) for x in (tail, nose - 0.4 * z) for y in (half, -half)]
    return pen.mesh(np.array(corners))


def _truck_load(pen: MeshPen, load: Array, *, stripe: Colour, half: float, is_tarp: bool) -> None:
    (tail, floor), (front, top) = load[0], load[2]
    sides = np.full(4, half)
    rim = np.array([(tail, floor), (tail, floor + 0.12), (front, floor + 0.12), (front, floor)])
    pen.both_sides(rim, (70, 70, 74), half_widths=sides, layer=2)
    if is_tarp:
        for x in np.linspace(tail + 0.4, front - 0.4, 6):
            fold = np.array([(x, floor + 0.15), (x, top - 0.05), (x + 0.07, top - 0.05), (x + 0.07, floor + 0.15)])
            pen.both_sides(fold, (96, 98, 96), half_widths=sides, layer=2)
    else:
        z0, z1 = floor + 0.45 * (top - floor), floor + 0.72 * (top - floor)
        band = np.array([(tail + 0.3, z0), (tail + 0.7, z1), (front - 0.3, z1), (front - 0.7, z0)])
        pen.both_sides(band, stripe, half_widths=sides, layer=2)
        sign = np.array(
            [(tail + 1.4, z0 + 0.12), (tail + 1.4, z1 - 0.12), (front - 1.6, z1 - 0.12), (front - 1.6, z0 + 0.12)]
        )
        pen.both_sides(sign, (240, 240, 236), half_widths=sides, layer=3)
    for y in (-0.02, 0.0):
        seam = [
            (tail - 0.01, y, floor),
            (tail - 0.01, y, top),
            (tail - 0.01, y + 0.03, top),
            (tail - 0.01, y + 0.03, floor),
        ]
        pen.face(seam, (80, 80, 84), outward=(-1.0, 0.0, 0.0), layer=2)
