"""Daylight and dusk: what they do to a colour, and where shadows fall."""

from dataclasses import dataclass

import numpy as np

from load_tests.camfarm.geometry import Array, Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Lighting:
    """The light of a scene; `shadow_xy` is the shadow's offset on the ground per metre of height."""

    ambient: tuple[float, float, float]
    sun: tuple[float, float, float]
    shadow_xy: tuple[float, float]
    shadow_share: float
    is_dusk: bool
    noise_sigma: float

    def paint(self, colour: Colour, *, shade: float = 1.0) -> Colour:
        """The colour of a surface in this light; `shade` 1 is fully lit."""
        red, green, blue = (
            max(0, min(255, round(part * share * shade))) for part, share in zip(colour, self.ambient, strict=True)
        )
        return red, green, blue

    def shade(self, normal: Array) -> float:
        """Brightness in about [0.55, 1.1] of a surface with this outward unit normal (3,)."""
        return float(0.66 + 0.34 * max(0.0, float(normal @ np.asarray(self.sun))) + 0.12 * float(normal[2]))


def lighting(seed: int, *, is_dusk: bool | None = None) -> Lighting:
    """The light of a seed's scene; a third of the seeds are dusk unless told."""
    rng = np.random.default_rng([seed, 101])
    draw, tone, angle, reach = rng.random(4)
    dusk = draw < 1 / 3 if is_dusk is None else is_dusk
    side = -1.0 if angle < 0.5 else 1.0
    sun = np.array([-side * 0.7, -0.75, 0.9])
    sun /= np.linalg.norm(sun)
    if dusk:
        level = 0.40 + 0.16 * tone
        return Lighting(
            ambient=(level * 0.92, level * 0.93, level * 1.16),
            sun=(float(sun[0]), float(sun[1]), float(sun[2])),
            shadow_xy=(side * 0.12, 0.05),
            shadow_share=0.35,
            is_dusk=True,
            noise_sigma=4.5 + 2.5 * reach,
        )
    level = 0.90 + 0.14 * tone
    return Lighting(
        ambient=(level * 1.03, level, level * 0.95),
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        shadow_xy=(side * (0.35 + 0.5 * reach), 0.25 + 0.3 * tone),
        shadow_share=0.34 + 0.16 * reach,
        is_dusk=False,
        noise_sigma=1.6 + 1.6 * reach,
    )
