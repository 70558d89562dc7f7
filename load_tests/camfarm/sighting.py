"""What the camera could see at one moment: projected silhouettes and details, far to near."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import tan

import numpy as np
import numpy.typing as npt

from load_tests.camfarm.actor import Actor, Label
from load_tests.camfarm.figure import Figure, Pose
from load_tests.camfarm.geometry import Array, Colour, Lens
from load_tests.camfarm.scene import Scene

_NEAREST_M = 1.0
_MARGIN_M = {
    Label.PERSON: 2.0,
    Label.BICYCLE: 2.5,
    Label.CAR: 8.0,
    Label.TRUCK: 8.0,
}  # more than half a body, seen aslant


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One thing in the image: its polygons in continuous pixels; `actor` and `pose` are None for furniture."""

    points_px: Array
    stops: tuple[int, ...]
    colours: tuple[Colour, ...]
    is_outline: tuple[bool, ...]
    xyxy: tuple[float, float, float, float]
    actor: Actor | None
    pose: Pose | None

    def polygons(self, points: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int32]]:
        """Any array aligned with `points_px`, cut into its polygons."""
        return [points[begin:end] for begin, end in pairwise((0, *self.stops))]


def _sighting(figure: Figure, lens: Lens, *, actor: Actor | None, pose: Pose | None) -> Sighting | None:
    """The figure's image; None when it is behind the camera or wholly outside."""
    points, depth = lens.project(figure.points)
    if float(depth.min()) < _NEAREST_M:
        return None
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if x2 <= 0 or y2 <= 0 or x1 >= lens.width_px or y1 >= lens.height_px:
        return None
    return Sighting(points, figure.stops, figure.colours, figure.is_outline, (x1, y1, x2, y2), actor, pose)


def _is_near_view(pose: Pose, lens: Lens, *, margin_m: float) -> bool:
    """A cheap test that spares most unseen actors their figure: within a margin of what is seen at that depth."""
    yaw, half = lens.view.yaw_rad, lens.view.hfov_rad / 2
    return pose.y_m * tan(yaw - half) - margin_m <= pose.x_m <= pose.y_m * tan(yaw + half) + margin_m


def standing(scene: Scene, lens: Lens) -> list[tuple[float, float, Sighting]]:
    """The furniture's sightings with (y, |x|); they never change."""
    found = []
    for thing in scene.furniture:
        seen = _sighting(thing.figure, lens, actor=None, pose=None)
        if seen is not None:
            found.append((thing.y_m, abs(thing.x_m), seen))
    return found


def sightings(
    scene: Scene, lens: Lens, *, time_s: float, stands: Sequence[tuple[float, float, Sighting]]
) -> list[Sighting]:
    """Everything in the image at a time, far to near.

    Lanes run along x and the camera hangs over y = 0, so a smaller y is nearer, and within one lane a smaller |x|.
    """
    found = list(stands)
    for actor in scene.traffic.between(time_s, time_s):
        pose = actor.pose(time_s)
        if _is_near_view(pose, lens, margin_m=_MARGIN_M[actor.label]):
            seen = _sighting(actor.body.figure(pose, lens.eye), lens, actor=actor, pose=pose)
            if seen is not None:
                found.append((pose.y_m, abs(pose.x_m), seen))
    found.sort(key=lambda item: (-item[0], -item[1]))
    return [seen for _, _, seen in found]
