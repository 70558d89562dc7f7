"""Draws frames: backdrop, shadows, actors far to near, glow, noise, barcode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from load_tests.camfarm import barcode
from load_tests.camfarm.actor import Label
from load_tests.camfarm.backdrop import backdrop, cast_shadow
from load_tests.camfarm.scene import Camera, Scene, frame_numbers
from load_tests.camfarm.sensor import Sensor
from load_tests.camfarm.sighting import Sighting, sightings, standing
from load_tests.camfarm.truth import FrameTruth, frame_truth

_SHIFT = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One captured frame: `rgb` (h, w, 3) uint8, read-only, and what is true of it."""

    rgb: npt.NDArray[np.uint8]
    truth: FrameTruth
    stream: int
    seq: int
    captured_at_s: float


def paint(rgb: npt.NDArray[np.uint8], sighting: Sighting) -> None:
    """Draw one thing in place, its polygons in their order."""
    fixed = np.rint((sighting.points_px - 0.5) * (1 << _SHIFT)).astype(np.int32)
    for polygon, colour in zip(sighting.polygons(fixed), sighting.colours, strict=True):
        cv2.fillPoly(rgb, [polygon], colour, cv2.LINE_AA, _SHIFT)


class Painter:
    """Draws one scene for one camera; holds what does not change from frame to frame."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        self._scene, self._camera = scene, camera
        self._lens = scene.lens(camera)
        self._stands = standing(scene, self._lens)
        self._street = backdrop(scene, self._lens)
        self._sensor = Sensor(
            scene.seed, width_px=camera.width_px, height_px=camera.height_px, sigma=scene.light.noise_sigma
        )

    def shot(self, seq: int) -> Shot:
        """Frame `seq`, the same whichever frames were drawn before."""
        time_s = self._camera.captured_at_s(seq)
        seen = sightings(self._scene, self._lens, time_s=time_s, stands=self._stands)
        rgb = self._street.lit.copy()
        self._shadows(rgb, seen)
        for sighting in seen:
            paint(rgb, sighting)
            if self._scene.light.is_dusk:
                self._headlights(rgb, sighting)
        self._sensor.expose(rgb, seq=seq)
        barcode.encode(rgb, stream=self._camera.stream, seq=seq)
        rgb.setflags(write=False)
        truth = frame_truth(seen, self._lens, camera=self._camera, seq=seq)
        return Shot(rgb=rgb, truth=truth, stream=self._camera.stream, seq=seq, captured_at_s=time_s)

    def _shadows(self, rgb: npt.NDArray[np.uint8], seen: Sequence[Sighting]) -> None:
        for sighting in seen:
            if sighting.actor is not None and sighting.pose is not None:
                ground = sighting.actor.body.shadow(sighting.pose, self._scene.light.shadow_xy)
                points, depth = self._lens.project(ground)
                if float(depth.min()) > 1.0:
                    cast_shadow(rgb, self._street, points_px=points)

    def _headlights(self, rgb: npt.NDArray[np.uint8], sighting: Sighting) -> None:
        """Add the glow of a vehicle's lamps over what is behind it; nothing for others."""
        if sighting.actor is None or sighting.pose is None or sighting.actor.label < Label.CAR:
            return
        pose = sighting.pose
        reach = 2.3 if sighting.actor.label is Label.CAR else 3.6
        spot = np.array([[pose.x_m + pose.heading[0] * (reach + 0.5), pose.y_m, 0.6]])
        centre, depth = self._lens.project(spot)
        _glow(rgb, centre[0], radius_px=self._lens.focal_px / float(depth[0]) * 1.5)


def _glow(rgb: npt.NDArray[np.uint8], centre: npt.NDArray[np.float64], *, radius_px: float) -> None:
    """Add a soft warm spot in place."""
    height, width = rgb.shape[:2]
    x1, y1 = max(0, int(centre[0] - radius_px)), max(0, int(centre[1] - radius_px * 0.6))
    x2, y2 = min(width, int(centre[0] + radius_px)), min(height, int(centre[1] + radius_px * 0.6))
    if x2 <= x1 or y2 <= y1:
        return
    x = (np.arange(x1, x2, dtype=np.float32) - np.float32(centre[0])) / np.float32(radius_px * 0.45)
    y = (np.arange(y1, y2, dtype=np.float32) - np.float32(centre[1])) / np.float32(radius_px * 0.27)
    spot = np.exp(-(y**2))[:, None] * np.exp(-(x**2))[None, :]
    warm = (spot[:, :, None] * np.array([70, 64, 46], np.float32)).astype(np.uint8)
    rgb[y1:y2, x1:x2] = cv2.add(rgb[y1:y2, x1:x2], warm)


def render(scene: Scene, camera: Camera, *, frames: int | None = None, first_seq: int = 0) -> Iterator[Shot]:
    """Frames `first_seq`, `first_seq` + 1, …; endless for `frames` None."""
    painter = Painter(scene, camera)
    for number in frame_numbers(frames):
        yield painter.shot(first_seq + number)
