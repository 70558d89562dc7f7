"""Painted polygons in the world: the material every drawn thing is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from load_tests.camfarm.geometry import Array, Colour

_HALF = np.radians([-90.0, -35.0, 35.0, 90.0])
_CAP_COS = np.concatenate([np.cos(_HALF), -np.cos(_HALF)])
_CAP_SIN = np.concatenate([np.sin(_HALF), np.sin(_HALF[::-1])])


@dataclass(frozen=True, slots=True)
class Figure:
    """Polygons in painter's order: `points` (n, 3) metres, polygon i is points[stops[i - 1] : stops[i]].

    `is_outline` marks the polygons that make up the silhouette; the others lie inside it.
    """

    points: Array
    stops: tuple[int, ...]
    colours: tuple[Colour, ...]
    is_outline: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a body is at one moment; `heading` is a unit vector on the ground, `walked_m` grows along the path."""

    x_m: float
    y_m: float
    heading: tuple[float, float]
    walked_m: float
    speed_mps: float


class Body(Protocol):
    """Something that can be drawn at a pose, and throws a shadow."""

    def figure(self, pose: Pose, eye: Array) -> Figure:
        """The body as seen from `eye` (3,)."""

    def shadow(self, pose: Pose, offset: tuple[float, float]) -> Array:
        """Ground points (k, 3) whose hull is the shadow; `offset` is its shift per metre of height."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A flat figure: polygons (k, 2) as (right, up) metres in the vertical plane of a billboard."""

    polygons: Sequence[Array]
    colours: Sequence[Colour]
    is_outline: Sequence[bool]

    def stand(self, x_m: float, y_m: float, *, right: tuple[float, float]) -> Figure:
        """The figure in the world, its `right` axis along the given ground vector."""
        flat = np.concatenate(list(self.polygons))
        points = np.empty((len(flat), 3))
        points[:, 0] = x_m + flat[:, 0] * right[0]
        points[:, 1] = y_m + flat[:, 0] * right[1]
        points[:, 2] = flat[:, 1]
        stops = tuple(np.cumsum([len(polygon) for polygon in self.polygons]).tolist())
        return Figure(points, stops, tuple(self.colours), tuple(self.is_outline))


def facing(x_m: float, y_m: float) -> tuple[float, float]:
    """Unit ground vector to the right as seen from the origin looking at (x_m, y_m)."""
    length = float(np.hypot(x_m, y_m)) or 1.0
    return y_m / length, -x_m / length


def limbs(starts: Array, ends: Array, *, radii: Array) -> Array:
    """Rounded limbs (k, 8, 2) from `starts` (k, 2) to `ends` (k, 2) with `radii` (k, 2) at both."""
    along = ends - starts
    along = along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    rim = _CAP_COS[None, :, None] * along[:, None, :] + _CAP_SIN[None, :, None] * across[:, None, :]
    centre = np.concatenate([np.repeat(ends[:, None], 4, axis=1), np.repeat(starts[:, None], 4, axis=1)], axis=1)
    radius = np.concatenate([np.repeat(radii[:, 1:], 4, axis=1), np.repeat(radii[:, :1], 4, axis=1)], axis=1)
    corners: Array = centre + rim * radius[:, :, None]
    return corners


@cache
def circle(corners: int) -> Array:
    """The unit circle as a polygon (corners, 2), from the right and up; read-only."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points.setflags(write=False)
    return points


def ellipse(x: float, y: float, *, rx: float, ry: float, corners: int = 14) -> Array:
    """An ellipse as a polygon (corners, 2)."""
    points: Array = circle(corners) * (rx, ry) + np.array([x, y])
    return points


def ring(x: float, y: float, *, outer: float, inner: float, corners: int = 20) -> Array:
    """A ring as one polygon with a slit, (2 * corners + 2, 2), so that what lies behind shows through."""
    closed = np.concatenate([circle(corners), circle(corners)[:1]])
    points: Array = np.concatenate([closed * outer, closed[::-1] * inner]) + np.array([x, y])
    return points
