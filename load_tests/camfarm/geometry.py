"""The pinhole view of a street: world metres in, source pixels out."""

from dataclasses import dataclass
from functools import cached_property
from math import cos, sin, tan
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a camera hangs over the origin of the world.

    World axes: x along the street, y away from the camera, z up, all in metres. `yaw_rad` turns towards +x,
    `pitch_rad` tilts down.
    """

    height_m: float
    yaw_rad: float
    pitch_rad: float
    hfov_rad: float


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A view sampled at one image size; pixel i covers [i, i + 1)."""

    view: View
    width_px: int
    height_px: int

    @cached_property
    def focal_px(self) -> float:
        """Focal length in pixels; pixels are square."""
        return self.width_px / 2 / tan(self.view.hfov_rad / 2)

    @cached_property
    def eye(self) -> Array:
        """Position of the camera in the world, (3,)."""
        return np.array([0.0, 0.0, self.view.height_m])

    @cached_property
    def matrix(self) -> Array:
        """Projection matrix (3, 4): homogeneous world to homogeneous pixels, third row is the depth in metres."""
        yaw, pitch = self.view.yaw_rad, self.view.pitch_rad
        right = (cos(yaw), -sin(yaw), 0.0)
        down = (-sin(pitch) * sin(yaw), -sin(pitch) * cos(yaw), -cos(pitch))
        forward = (cos(pitch) * sin(yaw), cos(pitch) * cos(yaw), -sin(pitch))
        rotation = np.array([right, down, forward])
        focal = self.focal_px
        camera = np.array([[focal, 0, self.width_px / 2], [0, focal, self.height_px / 2], [0, 0, 1.0]])
        matrix: Array = camera @ np.hstack([rotation, -(rotation @ self.eye)[:, None]])
        return matrix

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (n, 2) and depths in metres (n,) of world points (n, 3); depths <= 0 lie behind the camera."""
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[:, None], depth

    def ground_homography(self) -> Array:
        """Matrix (3, 3) from (x, y) metres on the ground to pixels."""
        return self.matrix[:, [0, 1, 3]]

    def wall_homography(self, *, y_m: float) -> Array:
        """Matrix (3, 3) from (x, z) metres on the wall that stands at `y_m` to pixels."""
        last = self.matrix[:, 1] * y_m + self.matrix[:, 3]
        return np.stack([self.matrix[:, 0], self.matrix[:, 2], last], axis=1)
