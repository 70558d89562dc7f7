"""Segments and polygons in the upright picture: checked when made, placed on its pixels, and what lies where."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidParameterError

Point: TypeAlias = tuple[float, float]
"""`(x, y)`, x to the right and y down."""
Floats: TypeAlias = NDArray[np.float64]

MIN_CORNERS: Final = 3
MAX_CORNERS: Final = 256
"""More than anybody draws; the check for edges that meet looks at every pair of edges."""


class Space(StrEnum):
    """What coordinates count: shares of the upright source picture's width and height in [0, 1], or its pixels."""

    NORMALISED = "normalised"
    PIXELS = "pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A directed straight line from `start` to `end`; InvalidParameterError unless it has a length and is in range."""

    start: Point
    end: Point
    space: Space = Space.NORMALISED

    def __post_init__(self) -> None:
        _check_points((self.start, self.end), self.space)
        if self.start == self.end:
            raise InvalidParameterError("a line must have two different ends")

    def in_pixels(self, *, width_px: int, height_px: int) -> Floats:
        """`(2, 2)` start and end in source pixels; InvalidParameterError where one lies outside of the picture."""
        return _place((self.start, self.end), self.space, width_px=width_px, height_px=height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """A simple polygon, closed by itself, either way round, convex or not.

    InvalidParameterError for fewer than 3 corners, corners out of range, or edges that meet other than at their ends.
    """

    corners: tuple[Point, ...]
    space: Space = Space.NORMALISED

    def __post_init__(self) -> None:
        if not MIN_CORNERS <= len(self.corners) <= MAX_CORNERS:
            raise InvalidParameterError(f"a polygon must have {MIN_CORNERS} to {MAX_CORNERS} corners")
        _check_points(self.corners, self.space)
        if not _is_simple(np.asarray(self.corners, dtype=np.float64)):
            raise InvalidParameterError("the edges of a polygon must not meet other than at their ends")

    def in_pixels(self, *, width_px: int, height_px: int) -> Floats:
        """`(k, 2)` corners in source pixels; InvalidParameterError where one lies outside of the picture."""
        return _place(self.corners, self.space, width_px=width_px, height_px=height_px)


def edges(corners: Floats) -> Floats:
    """The `(k, 2, 2)` edges of a polygon of `(k, 2)` corners; edge i begins at corner i."""
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def signed_distances(points: Floats, segment: Floats) -> Floats:
    """Distances `(n,)` of `(n, 2)` points from the endless line through a segment: > 0 right of it, < 0 left, 0 on it.

    Left and right are those of somebody in the picture who looks from the segment's start to its end.
    """
    along = segment[1] - segment[0]
    return np.asarray(_cross(along, points - segment[0]) / np.hypot(along[0], along[1]))


def contains(corners: Floats, points: Floats) -> NDArray[np.bool_]:
    """Which of `(n, 2)` points lie in the polygon of `(k, 2)` corners; a point that is not finite does not.

    On the boundary as with pixels: left and upper edges belong to the polygon, right and lower ones do not, so that a
    point on an edge that two polygons share lies in exactly one of them.
    """
    ends = edges(corners)
    # Every edge is taken from its upper end, so that the two polygons beside it compute the same.
    is_upward = ends[:, 0, 1] > ends[:, 1, 1]
    ends[is_upward] = ends[is_upward, ::-1]
    (x1, y1), (x2, y2) = ends[:, 0].T, ends[:, 1].T
    x, y = points[:, :1], points[:, 1:]
    is_beside = (y1 <= y) & (y < y2)
    with np.errstate(divide="ignore", invalid="ignore"):
        is_left = x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    return np.asarray(np.count_nonzero(is_beside & is_left, axis=1) % 2 == 1)


def crossing_shares(paths: Floats, segments: Floats) -> Floats:
    """Where `(n, 2, 2)` paths meet `(m, 2, 2)` segments: shares of each path in [0, 1], `(n, m)`, NaN where not.

    Ends belong to paths and segments. Parallel ones do not meet, nor does one without length.
    """
    path, segment = paths[:, 1] - paths[:, 0], segments[:, 1] - segments[:, 0]
    between = segments[None, :, 0] - paths[:, None, 0]
    scale = _cross(path[:, None], segment[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        on_path = _cross(between, segment[None]) / scale
        on_segment = _cross(between, path[:, None]) / scale
    is_met = (on_path >= 0) & (on_path <= 1) & (on_segment >= 0) & (on_segment <= 1) & (scale != 0)
    return np.where(is_met, on_path, np.nan)


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _check_points(points: tuple[Point, ...], space: Space) -> None:
    highest = 1.0 if space is Space.NORMALISED else float("inf")
    if not all(isfinite(value) and 0 <= value <= highest for point in points for value in point):
        wanted = "in [0, 1]" if space is Space.NORMALISED else "finite pixels, 0 or more"
        raise InvalidParameterError(f"coordinates must be {wanted}")


def _place(points: tuple[Point, ...], space: Space, *, width_px: int, height_px: int) -> Floats:
    size_px = np.array([width_px, height_px], dtype=np.float64)
    placed = np.asarray(points, dtype=np.float64) * (size_px if space is Space.NORMALISED else 1.0)
    if (placed > size_px).any():
        raise InvalidParameterError(f"coordinates must lie in the picture of {width_px} x {height_px} pixels")
    return placed


def _is_simple(corners: Floats) -> bool:
    """Whether no two edges meet other than neighbours at the corner that they share."""
    count, ends = len(corners), edges(corners)
    vectors = ends[:, 1] - ends[:, 0]
    following = np.roll(vectors, -1, axis=0)
    folds_back = (_cross(vectors, following) == 0) & ((vectors * following).sum(axis=1) <= 0)
    number = np.arange(count)
    gap = np.abs(number[:, None] - number[None])
    is_apart = (gap > 1) & (gap < count - 1)
    return not folds_back.any() and not (np.isfinite(crossing_shares(ends, ends)) & is_apart).any()
