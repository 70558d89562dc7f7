"""One moving thing: a class, a body and a path through the street."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from load_tests.camfarm.figure import Body, Pose
from load_tests.camfarm.geometry import Array


class Label(IntEnum):
    """Class ids, in the order the demo model knows them."""

    PERSON = 0
    BICYCLE = 1
    CAR = 2
    TRUCK = 3


LABEL_NAMES: tuple[str, ...] = tuple(label.name.lower() for label in Label)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """A body that follows way-points: `path` is (k, 3) of (seconds, x, y), times strictly increasing.

    It is on the street from `enters_s` to `leaves_s`; `walked_m` (k,) is the length of the path up to each way-point.
    """

    identity: int
    label: Label
    body: Body
    path: Array
    walked_m: Array
    enters_s: float
    leaves_s: float

    def ground(self, times_s: Array) -> Array:
        """Ground positions (k, 2) at the given times; NaN while absent."""
        clock = self.path[:, 0]
        x = np.interp(times_s, clock, self.path[:, 1], left=np.nan, right=np.nan)
        y = np.interp(times_s, clock, self.path[:, 2], left=np.nan, right=np.nan)
        return np.stack([x, y], axis=1)

    def pose(self, time_s: float) -> Pose:
        """Where the actor is at a time between `enters_s` and `leaves_s`."""
        clock = self.path[:, 0]
        leg = max(0, min(len(clock) - 2, int(np.searchsorted(clock, time_s, side="right")) - 1))
        begin, end = self.path[leg], self.path[leg + 1]
        span_s = float(end[0] - begin[0])
        share = (time_s - float(begin[0])) / span_s
        dx, dy = float(end[1] - begin[1]), float(end[2] - begin[2])
        length = float(np.hypot(dx, dy))
        heading = (dx / length, dy / length) if length > 0 else (1.0, 0.0)
        return Pose(
            x_m=float(begin[1]) + share * dx,
            y_m=float(begin[2]) + share * dy,
            heading=heading,
            walked_m=float(self.walked_m[leg]) + share * length,
            speed_mps=length / span_s,
        )


def actor(identity: int, label: Label, *, body: Body, path: list[tuple[float, float, float]]) -> Actor:
    """An actor on a path of (seconds, x, y) way-points."""
    points = np.array(path, dtype=float)
    steps = np.hypot(np.diff(points[:, 1]), np.diff(points[:, 2]))
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    return Actor(
        identity=identity,
        label=label,
        body=body,
        path=points,
        walked_m=walked,
        enters_s=path[0][0],
        leaves_s=path[-1][0],
    )
