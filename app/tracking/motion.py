"""Where tracked boxes are now: constant-velocity Kalman filters in true time, all tracks at once.

A box is centre x, centre y, width, height. With diagonal noise the eight-state filter of SORT falls apart into four
filters of position and velocity, one per number. The noise is counted in sizes of the object itself, so the spread of
a filter depends only on when its object was seen: both numbers of the centre share one, width and height another, and
a step is a handful of array operations, whatever the number of tracks.

An edge on the picture's rim is not the object's: it stands still while the object moves through it. There the other
edge tells the speed, and the box is believed to end on the rim until it is seen clear of it.

The unrest is that of a white acceleration, which composes: two steps of t seconds equal one of 2 t. Thus the frame rate
does not change what the filter believes.

Sources: SORT, Bewley et al., arXiv 1602.00763, section 3.2; noise in sizes of the object, ByteTrack, arXiv 2110.06864,
section 3, after DeepSORT; white-noise acceleration, Bar-Shalom, Li and Kirubarajan, Estimation with Applications to
Tracking and Navigation, 2001, section 6.2.2.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.tracking.parameters import TrackerParameters

Array: TypeAlias = NDArray[np.float64]
Belief: TypeAlias = Array
"""What is believed of n boxes, `(16, n)`.

Rows 0 to 3 are centre x, centre y, width, height in source px, 4 to 7 their velocities in px/s. Rows 8 to 13 are
variances in squared sizes of the object: of centre and size, then their covariance with the velocity, then those of
the velocity. Rows 14 and 15 say which edge lay on the picture's rim when the box was last seen, see `Rim.sides`."""

BELIEF_ROWS = 16
UNSTEPPED_S = -1.0
"""`BoxMotion.step_s` before the first step."""
_SMALLEST_PX = 1.0  # a shrinking box stays a box
_SAME_STEP_S = 1e-7  # stamps are rounded: even steps of a camera differ in the last bits


class BoxMotion:
    """The filter's equations with one set of noises.

    `step_s` is the step that the spreads are computed with: steps equal but for rounding share the first one's numbers,
    so it is part of the state of whoever wants the same bits again.
    """

    def __init__(self, parameters: TrackerParameters) -> None:
        self._noise = np.square([[parameters.position_noise], [parameters.size_noise]])
        self._drift = (parameters.position_drift**2, parameters.size_drift**2)
        self._begun = np.zeros((BELIEF_ROWS, 1))
        self._begun[8:10] = self._noise
        self._begun[12:14, 0] = np.square([parameters.initial_speed, parameters.initial_growth])
        self.step_s = UNSTEPPED_S
        self._step: Array = np.eye(3)
        self._unrest: Array = np.empty((6, 1))

    def begin(self, boxes: Array, *, sides: Array | None = None) -> Belief:
        """What one sight of `boxes` `(4, n)`, with `Rim.sides`, tells: they stand still as far as is known."""
        belief = self._begun.repeat(boxes.shape[1], axis=1)
        belief[:4] = boxes
        if sides is not None:
            belief[14:] = sides
        return belief

    def predict(self, belief: Belief, *, step_s: float) -> None:
        """Move the boxes `step_s` seconds on, in place."""
        if abs(step_s - self.step_s) > _SAME_STEP_S:
            self.assume_step(step_s)
        way = belief[4:8] * step_s
        sides = belief[14:]
        if np.count_nonzero(sides):
            # The edge on the rim stands still: the size changes by the way of the other, the middle goes half of it.
            inwards = way[:2] * sides
            way[2:] -= inwards
            inwards *= 0.5
            inwards *= sides
            way[:2] -= inwards
        position = belief[:4]
        position += way
        size = belief[2:4]
        np.maximum(size, _SMALLEST_PX, out=size)
        spread = belief[8:14]
        np.add(self._step.dot(spread.reshape(3, -1)).reshape(spread.shape), self._unrest, out=spread)

    def assume_step(self, step_s: float) -> None:
        """Compute spreads with this step until one comes that differs by more than rounding."""
        self.step_s = step_s
        # Number by number: stamps in whole milliseconds bring another step with most frames.
        self._step[0, 1] = 2 * step_s
        self._step[0, 2] = step_s * step_s
        self._step[1, 2] = step_s
        of_place, of_size = self._drift
        variance, covariance = step_s**3 / 3, step_s**2 / 2
        self._unrest[:, 0] = (
            *(variance * of_place, variance * of_size),
            *(covariance * of_place, covariance * of_size),
            *(step_s * of_place, step_s * of_size),
        )

    def correct(self, belief: Belief, *, rows: NDArray[np.intp], boxes: Array, sides: Array | None = None) -> None:
        """Take in what was measured, in place: column i of `boxes` `(4, m)`, see `centred`, for track `rows[i]`.

        `sides` `(2, m)` are their `Rim.sides`, None where none lies on the rim.
        """
        seen = belief.take(rows, axis=1)
        surprise = (boxes - seen[:4]).reshape(2, 2, -1)
        spread = seen[8:12].reshape(2, 2, -1)  # variance and covariance
        gain = spread / (spread[0] + self._noise)
        mean = seen[:8].reshape(2, 2, 2, -1)
        mean += gain[:, :, None] * surprise
        if sides is not None or np.count_nonzero(seen[14:]):
            _learn_by_free_edge(seen, sides=sides, wider=surprise[1], gain=gain[1])
        seen[12:14] -= gain[1] * spread[1]
        spread *= 1.0 - gain[0]
        belief[:, rows] = seen


def _learn_by_free_edge(seen: Belief, *, sides: Array | None, wider: Array, gain: Array) -> None:
    """Take back what an edge on the rim, now or the last time, taught about velocities; remember `sides`.

    Boxes came out `wider` than thought, and `gain` `(2, m)` turned that, and the surprise of the middle, into velocity.
    """
    side = seen[14:]
    if sides is not None:
        side += sides
        np.sign(side, out=side)
    taught = gain[:, None] * (wider * side)
    taught[0] *= 0.5  # the free edge moved by what the middle moved, less half of what the box grew
    taught[1] *= side
    velocity = seen[4:8].reshape(taught.shape)
    velocity -= taught
    seen[14:] = 0.0 if sides is None else sides


def centred(xyxy: Array) -> Array:
    """Columns of corners `(4, n)` as columns of centre x, centre y, width, height."""
    boxes = np.empty(xyxy.shape)
    size = np.subtract(xyxy[2:], xyxy[:2], out=boxes[2:])
    middle = np.multiply(size, 0.5, out=boxes[:2])
    middle += xyxy[:2]
    return boxes
