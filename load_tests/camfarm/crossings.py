"""Who crosses a line in the image, which way and when."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from load_tests.camfarm.actor import Actor, Label
from load_tests.camfarm.geometry import Array, Lens
from load_tests.camfarm.scene import Camera, Scene

_STEP_S = 0.04  # fine against any actor's turn; the moment itself is then bisected
_BISECTIONS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A directed segment from (x1, y1) to (x2, y2) in shares of the image's width and height."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One crossing; `direction` is +1 from the line's left to its right, seen along the line in the image, else -1."""

    identity: int
    label: Label
    direction: int
    at_s: float


def _anchor(actor: Actor, lens: Lens, times_s: Array) -> Array:
    """The point on the ground under the actor in shares of the image, (k, 2); NaN while absent or behind the camera."""
    ground = actor.ground(times_s)
    points, depth = lens.project(np.column_stack([ground, np.zeros(len(ground))]))
    shares: Array = points / (lens.width_px, lens.height_px)
    shares[~(depth > 1.0)] = np.nan
    return shares


def _side(points: Array, line: Line) -> Array:
    """Positive on the line's right in the image, negative on its left, NaN where the point is; (k,)."""
    dx, dy = line.x2 - line.x1, line.y2 - line.y1
    side: Array = dx * (points[:, 1] - line.y1) - dy * (points[:, 0] - line.x1)
    return side


def _moments(actor: Actor, lens: Lens, line: Line, *, begin_s: float, end_s: float) -> Iterator[Crossing]:
    begin_s, end_s = max(begin_s, actor.enters_s), min(end_s, actor.leaves_s)
    if end_s <= begin_s:
        return
    times = np.append(np.arange(begin_s, end_s, _STEP_S), end_s)
    # A point on the line counts as right of it, so that no crossing is lost or counted twice.
    is_right = _side(_anchor(actor, lens, times), line) >= 0
    is_known = np.isfinite(_side(_anchor(actor, lens, times), line))
    for at in np.flatnonzero((is_right[1:] != is_right[:-1]) & is_known[1:] & is_known[:-1]):
        low, high = float(times[at]), float(times[at + 1])
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if bool(_side(_anchor(actor, lens, np.array([middle])), line)[0] >= 0) == bool(is_right[at]):
                low = middle
            else:
                high = middle
        point = _anchor(actor, lens, np.array([high]))[0]
        dx, dy = line.x2 - line.x1, line.y2 - line.y1
        along = ((point[0] - line.x1) * dx + (point[1] - line.y1) * dy) / (dx * dx + dy * dy)
        if 0 <= along <= 1:
            direction = 1 if is_right[at + 1] else -1
            yield Crossing(identity=actor.identity, label=actor.label, direction=direction, at_s=high)


def crossings(scene: Scene, camera: Camera, line: Line, *, begin_s: float, end_s: float) -> list[Crossing]:
    """All crossings in [begin_s, end_s] in scene time, by time; the point that crosses is the ground under the actor.

    That point is the bottom centre of the box up to the swing of legs and the depth of a vehicle. Hidden actors cross
    too. ValueError for a line of no length.
    """
    if (line.x1, line.y1) == (line.x2, line.y2):
        message = "the line has no length"
        raise ValueError(message)
    lens = scene.lens(camera)
    found = [
        crossing
        for actor in scene.traffic.between(begin_s, end_s)
        for crossing in _moments(actor, lens, line, begin_s=begin_s, end_s=end_s)
    ]
    return sorted(found, key=lambda crossing: (crossing.at_s, crossing.identity))
