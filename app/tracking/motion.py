"""Where tracked boxes are now: constant-velocity Kalman filters in true time, all tracks at once.

A box is centre x, centre y, width, height. With diagonal noise the eight-state filter of SORT falls apart into four
filters of position and velocity, one per number. The noise is counted in sizes of the object itself, so the spread of
a filter depends only on when its object was seen: both numbers of the centre share one, width and height another, and
a step is a handful of array operations, whatever the number of tracks.

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
Mean: TypeAlias = Array
"""`(2, 2, 2, n)` source px: position or velocity; centre or size; x or y; track."""
Spread: TypeAlias = Array
"""`(3, 2, n)` in squared object sizes: variance of the position, covariance, variance of the velocity; centre or size."""

_SMALLEST_PX = 1.0  # a shrinking box stays a box


class BoxMotion:
    """The filter's equations with one set of noises."""

    def __init__(self, parameters: TrackerParameters) -> None:
        self._noise = np.square([[parameters.position_noise], [parameters.size_noise]])
        self._drift = np.square([parameters.position_drift, parameters.size_drift])
        self._begun = np.zeros((3, 2, 1))
        self._begun[0] = self._noise
        self._begun[2, :, 0] = np.square([parameters.initial_speed, parameters.initial_growth])
        self._step_s = -1.0
        self._step = self._unrest = np.empty(0)

    def begin(self, count: int) -> Spread:
        """The spread of `count` tracks that were seen once and stand still as far as is known."""
        return self._begun.repeat(count, axis=2)

    def predict(self, mean: Mean, spread: Spread, *, step_s: float) -> None:
        """Move the tracks `step_s` seconds on, in place."""
        if abs(step_s - self._step_s) > 1e-7:  # stamps are rounded: a camera's even steps differ in the last bits
            self._step_s = step_s
            self._step = np.array([[1.0, 2 * step_s, step_s * step_s], [0.0, 1.0, step_s], [0.0, 0.0, 1.0]])
            self._unrest = np.multiply.outer([step_s**3 / 3, step_s**2 / 2, step_s], self._drift)[:, :, None]
        position, velocity = mean
        position += step_s * velocity
        size = position[1]
        np.maximum(size, _SMALLEST_PX, out=size)
        spread[:] = self._step.dot(spread.reshape(3, -1)).reshape(spread.shape)
        spread += self._unrest

    def correct(self, mean: Mean, spread: Spread, *, rows: NDArray[np.intp], boxes: Array) -> None:
        """Take in what was measured, in place: column i of `boxes` (4, m), see `centred`, for track `rows[i]`."""
        position = mean[0]
        surprise = np.zeros(position.shape)
        surprise.reshape(4, -1)[:, rows] = boxes - position.reshape(4, -1).take(rows, axis=1)
        gain = spread[:2] / (spread[0] + self._noise)
        mean += gain[:, :, None] * surprise
        is_seen = np.zeros(position.shape[-1])
        is_seen[rows] = 1.0
        gain *= is_seen
        spread[2] -= gain[1] * spread[1]
        spread[:2] *= 1.0 - gain[0]


def centred(xyxy: Array) -> Array:
    """Columns of corners `(4, n)` as columns of centre x, centre y, width, height."""
    boxes = np.empty(xyxy.shape)
    size = np.subtract(xyxy[2:], xyxy[:2], out=boxes[2:])
    middle = np.multiply(size, 0.5, out=boxes[:2])
    middle += xyxy[:2]
    return boxes
