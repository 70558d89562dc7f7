"""A bicycle with its rider, drawn in the plane it rolls in; box and silhouette cover both."""

from dataclasses import dataclass

import numpy as np

from load_tests.camfarm.figure import Figure, Pose, Sheet, ellipse, limbs, ring
from load_tests.camfarm.geometry import Array, Colour
from load_tests.camfarm.lighting import Lighting

_FRAME: tuple[Colour, ...] = (
    (200, 44, 40),
    (34, 96, 170),
    (240, 240, 236),
    (30, 30, 34),
    (60, 150, 90),
    (236, 160, 40),
)
_JERSEY: tuple[Colour, ...] = (
    (236, 220, 60),
    (220, 70, 60),
    (70, 130, 200),
    (240, 240, 240),
    (60, 64, 72),
    (110, 190, 90),
)
_WHEEL_M = 0.36
_FRONT, _REAR = np.array([0.55, _WHEEL_M]), np.array([-0.53, _WHEEL_M])
_CRANK = np.array([-0.03, 0.32])
_SEAT, _BAR = np.array([-0.24, 0.98]), np.array([0.40, 1.06])
_HIP, _SHOULDER = np.array([-0.22, 1.05]), np.array([0.16, 1.52])
_THIGH_M, _SHIN_M = 0.46, 0.48


def _beside(point: Array, *, ahead: float, up: float) -> Array:
    moved: Array = point + np.array([ahead, up])
    return moved


def _knee(foot: Array) -> Array:
    """Where the knee is when hip and foot are given: ahead of the line between them."""
    across = foot - _HIP
    length = min(float(np.hypot(*across)), _THIGH_M + _SHIN_M - 1e-3)
    along = across / float(np.hypot(*across))
    reach = (_THIGH_M**2 - _SHIN_M**2 + length**2) / (2 * length)
    rise = float(np.sqrt(max(0.0, _THIGH_M**2 - reach**2)))
    knee: Array = _HIP + along * reach + np.array([-along[1], along[0]]) * rise
    return knee


@dataclass(frozen=True, slots=True, kw_only=True)
class Bicycle:
    """One bicycle and rider, colours already in the scene's light; `scale` is about 1."""

    scale: float
    frame: Colour
    tyre: Colour
    metal: Colour
    jersey: Colour
    jersey_dark: Colour
    trousers: Colour
    trousers_dark: Colour
    skin: Colour
    helmet: Colour

    def figure(self, pose: Pose, eye: Array) -> Figure:
        """The bicycle with wheels and legs turned to where they are at this pose."""
        del eye
        polygons, colours = self._wheels(pose.walked_m / (_WHEEL_M * self.scale))
        legs, leg_colours = self._rider(pose.walked_m / 0.8)
        polygons += legs
        colours += leg_colours
        scaled = [polygon * self.scale for polygon in polygons]
        return Sheet(scaled, colours, [True] * len(scaled)).stand(pose.x_m, pose.y_m, right=pose.heading)

    def shadow(self, pose: Pose, offset: tuple[float, float]) -> Array:
        """The strip under the wheels and what the rider's shadow adds."""
        along = np.array([pose.heading[0], pose.heading[1], 0.0])
        flat = np.array([along * 0.85, along * -0.85, along * 0.3, along * -0.3])
        tall = np.array([0.0, 0.0, 1.7, 1.7]) * self.scale
        width = np.array([pose.heading[1], -pose.heading[0], 0.0]) * 0.12
        spots = flat + tall[:, None] * np.array([offset[0], offset[1], 0.0])
        cast: Array = np.concatenate([spots + width, spots - width]) + np.array([pose.x_m, pose.y_m, 0.0])
        return cast

    def _wheels(self, turn: float) -> tuple[list[Array], list[Colour]]:
        polygons = [ring(*hub, outer=_WHEEL_M, inner=_WHEEL_M - 0.06) for hub in (_REAR, _FRONT)]
        spokes_a, spokes_b = [], []
        for hub in (_REAR, _FRONT):
            for spoke in range(4):
                angle = -turn + spoke * np.pi / 4
                reach = (_WHEEL_M - 0.04) * np.array([np.cos(angle), np.sin(angle)])
                spokes_a.append(hub - reach)
                spokes_b.append(hub + reach)
        thin = limbs(np.array(spokes_a), np.array(spokes_b), radii=np.full((8, 2), 0.007))
        tubes = [(_REAR, _CRANK), (_REAR, _SEAT), (_CRANK, _SEAT), (_CRANK, np.array([0.36, 0.84]))]
        tubes += [
            (np.array([-0.18, 0.82]), np.array([0.36, 0.86])),
            (_FRONT, _BAR),
            (_BAR, _beside(_BAR, ahead=0.1, up=0.02)),
        ]
        tubes += [(_beside(_SEAT, ahead=-0.12, up=0.0), _beside(_SEAT, ahead=0.12, up=0.01))]
        ends = np.array(tubes)
        radii = np.full((len(tubes), 2), 0.026)
        radii[-1] = 0.04
        frame = limbs(ends[:, 0], ends[:, 1], radii=radii)
        colours = [self.tyre] * 2 + [self.metal] * 8 + [self.frame] * 6 + [self.tyre] * 2
        return [*polygons, *thin, *frame], colours

    def _rider(self, turn: float) -> tuple[list[Array], list[Colour]]:
        joints, radii = [], []
        for side in (np.pi, 0.0):
            foot = _CRANK + 0.17 * np.array([np.sin(turn + side), np.cos(turn + side)]) + (0.0, 0.04)
            knee = _knee(foot)
            joints += [
                (_HIP, knee),
                (knee, foot),
                (_beside(foot, ahead=-0.04, up=-0.02), _beside(foot, ahead=0.16, up=-0.03)),
            ]
            radii += [(0.095, 0.07), (0.065, 0.045), (0.04, 0.035)]
        elbow = (_SHOULDER + _BAR) / 2 + (-0.02, -0.08)
        joints += [(_HIP, _SHOULDER), (_SHOULDER, elbow), (elbow, _beside(_BAR, ahead=0.04, up=0.03))]
        radii += [(0.12, 0.135), (0.06, 0.05), (0.045, 0.035)]
        ends = np.array(joints)
        limb = limbs(ends[:, 0], ends[:, 1], radii=np.array(radii))
        head = ellipse(0.30, 1.73, rx=0.10, ry=0.125)
        helmet = np.array([(0.17, 1.76), (0.20, 1.87), (0.29, 1.91), (0.39, 1.87), (0.45, 1.77)])
        far = [self.trousers_dark, self.trousers_dark, self.tyre]
        near = [self.trousers, self.trousers, self.tyre]
        colours = [*far, self.jersey, *near, self.jersey_dark, self.skin, self.skin, self.helmet]
        return [*limb[:3], limb[6], *limb[3:6], limb[7], limb[8], head, helmet], colours


def bicycle(rng: np.random.Generator, light: Lighting) -> Bicycle:
    """A random bicycle and rider."""
    jersey = _JERSEY[rng.integers(len(_JERSEY))]
    trousers: Colour = ((40, 42, 50), (60, 70, 100), (96, 88, 76))[rng.integers(3)]
    return Bicycle(
        scale=float(rng.uniform(0.94, 1.06)),
        frame=light.paint(_FRAME[rng.integers(len(_FRAME))]),
        tyre=light.paint((28, 28, 30)),
        metal=light.paint((170, 172, 176)),
        jersey=light.paint(jersey),
        jersey_dark=light.paint(jersey, shade=0.7),
        trousers=light.paint(trousers),
        trousers_dark=light.paint(trousers, shade=0.65),
        skin=light.paint(((232, 190, 160), (176, 124, 90), (120, 82, 58))[rng.integers(3)]),
        helmet=light.paint(_FRAME[rng.integers(len(_FRAME))]),
    )
