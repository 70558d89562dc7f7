"""A street by seed: its light, its view, its traffic and what stands on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import atan, radians, tan

import numpy as np

from load_tests.camfarm.furniture import Furniture, furniture
from load_tests.camfarm.geometry import Lens, View
from load_tests.camfarm.lighting import Lighting, lighting
from load_tests.camfarm.traffic import Traffic


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How a scene is sampled: size, rate, the stream number in the barcode, and when frame 0 is taken."""

    width_px: int
    height_px: int
    fps: float
    stream: int = 0
    start_s: float = 0.0

    def captured_at_s(self, seq: int) -> float:
        """Capture time of frame `seq` in scene seconds."""
        return self.start_s + seq / self.fps


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One street, the same at every size and rate.

    `density` is about how many actors are in view (up to 100; vehicles stop at their lanes' capacity, walkers fill
    up); `is_dusk` None leaves the light to the seed.
    """

    seed: int
    density: float = 11.0
    is_dusk: bool | None = None

    @cached_property
    def light(self) -> Lighting:
        """The scene's light."""
        return lighting(self.seed, is_dusk=self.is_dusk)

    @cached_property
    def view(self) -> View:
        """The camera on its pole; steep enough that every actor stays below the barcode at 16:9."""
        rng = np.random.default_rng([self.seed, 501])
        hfov = radians(float(rng.uniform(56.0, 62.0)))
        horizon = float(rng.uniform(-0.05, 0.06))
        pitch = atan((0.5 - horizon) * (9 / 16) * 2 * tan(hfov / 2))
        yaw = radians(float(rng.uniform(-18.0, 18.0)))
        return View(height_m=float(rng.uniform(6.8, 7.8)), yaw_rad=yaw, pitch_rad=pitch, hfov_rad=hfov)

    @cached_property
    def crossing_x_m(self) -> float:
        """Where the zebra crossing lies, inside the view."""
        return float(16.0 * tan(self.view.yaw_rad) + np.random.default_rng([self.seed, 502]).uniform(-6.0, 6.0))

    @cached_property
    def furniture(self) -> list[Furniture]:
        """What stands still and hides others."""
        return furniture(self.seed, self.light)

    @cached_property
    def traffic(self) -> Traffic:
        """Who passes."""
        return Traffic(self.seed, self.light, density=self.density, crossing_x_m=self.crossing_x_m)

    def lens(self, camera: Camera) -> Lens:
        """The scene's view at a camera's size."""
        return Lens(view=self.view, width_px=camera.width_px, height_px=camera.height_px)


def frame_numbers(frames: int | None) -> Iterator[int]:
    """0, 1, 2 … up to `frames`, without end for None."""
    seq = 0
    while frames is None or seq < frames:
        yield seq
        seq += 1
