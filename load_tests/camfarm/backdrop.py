"""The empty street as one camera sees it, lit and in shadow; drawn once per camera."""

from dataclasses import dataclass
from math import tan

import cv2
import numpy as np
import numpy.typing as npt

from load_tests.camfarm.facade import TOP_M, facade
from load_tests.camfarm.geometry import Array, Lens
from load_tests.camfarm.ground import FAR_M, Canvas, ground
from load_tests.camfarm.scene import Scene

_MAX_PX_PER_M = 110.0  # a 4K camera's ground picture stays under 50 MB


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """The street without its actors: `lit` and fully `shaded`, both (h, w, 3)."""

    lit: npt.NDArray[np.uint8]
    shaded: npt.NDArray[np.uint8]


def _warp(sheet: Canvas, homography: Array, *, lens: Lens, sign: float) -> npt.NDArray[np.uint8]:
    """The canvas seen through a homography of its plane's metres; `sign` -1 when its rows run against the axis."""
    scale = 1 / sheet.px_per_m
    to_plane = np.array([[scale, 0, sheet.left_m], [0, sign * scale, sign * sheet.top_m], [0, 0, 1.0]])
    warped = cv2.warpPerspective(
        sheet.pixels, homography @ to_plane, (lens.width_px, lens.height_px), flags=cv2.INTER_LINEAR
    )
    return np.asarray(warped, np.uint8)


def backdrop(scene: Scene, lens: Lens) -> Backdrop:
    """The empty street of a scene at a camera's size, with the shadows of what stands on it."""
    yaw, half = lens.view.yaw_rad, lens.view.hfov_rad / 2
    span = (FAR_M * 1.15 * tan(yaw - half) - 2.0, FAR_M * 1.15 * tan(yaw + half) + 2.0)
    px_per_m = min(_MAX_PX_PER_M, max(16.0, lens.width_px / 13.0))
    lamps = [thing.x_m for thing in scene.furniture if thing.is_lamp]
    floor = ground(
        scene.seed, scene.light, span_m=span, crossing_x_m=scene.crossing_x_m, lamps_x_m=lamps, px_per_m=px_per_m
    )
    wall = facade(scene.seed, scene.light, span_m=span, px_per_m=px_per_m * 0.7)
    picture = _warp(floor, lens.ground_homography(), lens=lens, sign=1.0)
    behind = _warp(wall, lens.wall_homography(y_m=FAR_M), lens=lens, sign=-1.0)
    corners = np.array([(x, FAR_M, z) for x, z in ((span[0], 0), (span[1], 0), (span[1], TOP_M), (span[0], TOP_M))])
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.rint(lens.project(corners)[0]).astype(np.int32), 255)
    lit = cv2.copyTo(behind, mask, picture)
    share = 1 - scene.light.shadow_share
    shaded = cv2.convertScaleAbs(lit, alpha=share)
    result = Backdrop(np.asarray(lit, np.uint8), np.asarray(shaded, np.uint8))
    for thing in scene.furniture:
        cast_shadow(result.lit, result, points_px=lens.project(thing.shadow)[0])
    return result


def cast_shadow(rgb: npt.NDArray[np.uint8], street: Backdrop, *, points_px: Array) -> None:
    """Darken, in place, the street inside the hull of these points; what is not street must be drawn later."""
    height, width = rgb.shape[:2]
    if float(np.abs(points_px).max()) > 8 * width:
        return
    low = np.floor(points_px.min(axis=0)).astype(int) - 1
    high = np.ceil(points_px.max(axis=0)).astype(int) + 2
    x1, y1, x2, y2 = max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))
    if x2 <= x1 or y2 <= y1:
        return
    hull = cv2.convexHull(np.rint((points_px - (x1 + 0.5, y1 + 0.5)) * 16).astype(np.int32))
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_AA, 4)
    window = np.s_[y1:y2, x1:x2]
    # The darker of both, so that overlapping shadows do not add up; edges take the mask's part of the difference.
    gap = cv2.subtract(rgb[window], street.shaded[window])
    part = cv2.multiply(gap, cv2.merge([mask, mask, mask]), scale=1 / 255)
    rgb[window] = cv2.subtract(rgb[window], part)
