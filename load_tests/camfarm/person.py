"""A walking person: an articulated figure on a billboard that faces the camera."""

from dataclasses import dataclass

import numpy as np

from load_tests.camfarm.figure import Figure, Pose, Sheet, circle, ellipse, facing, limbs
from load_tests.camfarm.geometry import Array, Colour
from load_tests.camfarm.lighting import Lighting

_SKIN: tuple[Colour, ...] = ((236, 196, 168), (214, 164, 130), (170, 118, 84), (118, 78, 54))
_HAIR: tuple[Colour, ...] = ((40, 30, 24), (92, 62, 36), (170, 136, 84), (120, 116, 112), (24, 22, 24))
_CLOTH: tuple[Colour, ...] = (
    (178, 42, 46),
    (40, 74, 140),
    (226, 190, 62),
    (236, 234, 228),
    (58, 122, 78),
    (86, 60, 120),
    (222, 120, 44),
    (44, 46, 52),
    (98, 160, 190),
    (196, 120, 150),
)
_TROUSERS: tuple[Colour, ...] = ((44, 56, 88), (36, 36, 40), (120, 108, 84), (82, 86, 92), (70, 50, 40))
_STRIDE_M = 1.45  # two steps of a grown person, at a height of 1.75 m


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One pedestrian's build and clothes, colours already in the scene's light."""

    height_m: float
    girth: float
    skin: Colour
    hair: Colour
    top: Colour
    top_dark: Colour
    legs: Colour
    legs_dark: Colour
    shoes: Colour
    bag: Colour | None
    has_coat: bool

    def figure(self, pose: Pose, eye: Array) -> Figure:
        """The body in mid-stride; standing people keep their feet together."""
        del eye
        right = facing(pose.x_m, pose.y_m)
        side = pose.heading[0] * right[0] + pose.heading[1] * right[1]
        swing = min(1.0, pose.speed_mps / 1.2)
        phase = 2 * np.pi * pose.walked_m / (_STRIDE_M * self.height_m / 1.75)
        return self._sheet(phase, swing=swing, side=side).stand(pose.x_m, pose.y_m, right=right)

    def shadow(self, pose: Pose, offset: tuple[float, float]) -> Array:
        """A long oval from the feet to where the head's shadow falls."""
        foot = np.column_stack([circle(10) * (0.26, 0.16), np.zeros(10)])
        head = foot * 0.7 + np.array([offset[0], offset[1], 0.0]) * self.height_m
        spots: Array = np.concatenate([foot, head]) + np.array([pose.x_m, pose.y_m, 0.0])
        return spots

    def _sheet(self, phase: float, *, swing: float, side: float) -> Sheet:
        h, wide = self.height_m, self.girth
        hip, shoulder = 0.51 * h, 0.815 * h
        spread = (1 - abs(side)) * 0.09 * wide
        joints, radii = [], []
        for leg in (0, 1):  # the far leg first
            turn = phase + np.pi * leg
            thigh = 0.50 * swing * np.sin(turn)
            knee_bend = swing * (0.15 + 0.75 * max(0.0, np.cos(turn))) * 0.7
            offset = (spread + 0.05 * wide) * (1 if leg else -1) * (1 if abs(side) < 0.7 else 0.4)
            start = np.array([offset, hip])
            knee = start + 0.245 * h * np.array([np.sin(thigh) * side, -np.cos(thigh)])
            foot = knee + 0.235 * h * np.array([np.sin(thigh - knee_bend) * side, -np.cos(thigh - knee_bend)])
            toe = foot + np.array([0.085 * h * side, -0.012 * h])
            joints += [(start, knee), (knee, foot), (foot, toe)]
            radii += [(0.055, 0.042), (0.042, 0.028), (0.027, 0.022)]
        for arm in (0, 1):
            turn = phase + np.pi * (1 - arm)
            lift = 0.45 * swing * np.sin(turn)
            start = np.array([(0.105 * (1 - 0.75 * abs(side))) * h * wide * (1 if arm else -1), shoulder - 0.02 * h])
            elbow = start + 0.17 * h * np.array([np.sin(lift) * side + 0.12 * (1 if arm else -1), -np.cos(lift)])
            hand = elbow + 0.15 * h * np.array([np.sin(lift + 0.35) * side, -np.cos(lift + 0.2)])
            joints += [(start, elbow), (elbow, hand), (hand, hand - np.array([0.0, 0.02 * h]))]
            radii += [(0.034, 0.027), (0.026, 0.02), (0.022, 0.02)]
        ends = np.array(joints)
        limb = limbs(ends[:, 0], ends[:, 1], radii=np.array(radii) * h * (0.6 + 0.4 * wide))
        return self._assemble(limb, side=side, hip=hip, shoulder=shoulder)

    def _assemble(self, limb: Array, *, side: float, hip: float, shoulder: float) -> Sheet:
        h, wide = self.height_m, self.girth
        half = (0.125 - 0.04 * abs(side)) * h * wide
        waist = half * 0.82
        bottom = hip - (0.13 * h if self.has_coat else 0.02 * h)
        torso = np.array(
            [
                (-half * 0.6, shoulder + 0.02 * h),
                (half * 0.6, shoulder + 0.02 * h),
                (half, shoulder - 0.03 * h),
                (waist, hip + 0.12 * h),
                (half * 0.95, bottom),
                (-half * 0.95, bottom),
                (-waist, hip + 0.12 * h),
                (-half, shoulder - 0.03 * h),
            ]
        )
        shaded = torso[[1, 2, 3, 4]]
        shaded = np.concatenate([shaded, [(half * 0.25, bottom), (half * 0.3, shoulder)]])
        nose = 0.012 * h * side
        neck = np.array([(-0.025, 0.80), (0.025, 0.80), (0.025, 0.87), (-0.025, 0.87)]) * h
        head = ellipse(nose, 0.915 * h, rx=0.053 * h, ry=0.07 * h)
        hair = ellipse(-nose, 0.94 * h, rx=0.055 * h, ry=0.056 * h)
        polygons = [
            limb[6],
            limb[7],
            limb[8],
            limb[0],
            limb[1],
            limb[2],
            limb[3],
            limb[4],
            limb[5],
            torso,
            shaded,
            neck,
        ]
        colours = [self.top_dark, self.top_dark, self.skin, self.legs_dark, self.legs_dark, self.shoes]
        colours += [self.legs, self.legs, self.shoes, self.top, self.top_dark, self.skin]
        outline = [True] * 10 + [False, True]
        if self.bag is not None:
            x = -0.12 * h * (side if abs(side) > 0.4 else 1.0)
            polygons.append(ellipse(x, 0.68 * h, rx=0.075 * h, ry=0.12 * h, corners=10))
            colours.append(self.bag)
            outline.append(True)
        polygons += [
            limb[9],
            limb[10],
            limb[11],
            hair,
            head,
            ellipse(-nose * 1.5, 0.955 * h, rx=0.05 * h, ry=0.036 * h),
        ]
        colours += [self.top, self.top, self.skin, self.hair, self.skin, self.hair]
        outline += [True, True, True, True, True, False]
        return Sheet(polygons, colours, outline)


def person(rng: np.random.Generator, light: Lighting) -> Person:
    """A random passer-by."""
    top = _CLOTH[rng.integers(len(_CLOTH))]
    legs = _TROUSERS[rng.integers(len(_TROUSERS))]
    bag = _CLOTH[rng.integers(len(_CLOTH))] if rng.random() < 0.3 else None
    return Person(
        height_m=float(rng.uniform(1.58, 1.92)),
        girth=float(rng.uniform(0.92, 1.25)),
        skin=light.paint(_SKIN[rng.integers(len(_SKIN))]),
        hair=light.paint(_HAIR[rng.integers(len(_HAIR))]),
        top=light.paint(top),
        top_dark=light.paint(top, shade=0.72),
        legs=light.paint(legs),
        legs_dark=light.paint(legs, shade=0.7),
        shoes=light.paint((40, 36, 34) if rng.random() < 0.7 else (226, 226, 222)),
        bag=None if bag is None else light.paint(bag, shade=0.85),
        has_coat=bool(rng.random() < 0.3),
    )
