"""Which boxes the picture's rim cuts: what lies there is the rim's edge, not the object's."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOLERANCE = 0.005  # of the picture's side: detectors end a cut box on the rim, or a few pixels before it


class Rim:
    """The rim of pictures of one size."""

    def __init__(self, *, width_px: int, height_px: int) -> None:
        self.size_px = (width_px, height_px)
        far = np.array([[width_px], [height_px]], np.float64)
        self._edges = np.concatenate((np.zeros((2, 1)), far))
        self._tolerance = _TOLERANCE * np.concatenate((far, far))

    def sides(self, xyxy: Array) -> Array | None:
        """The edges of boxes `(4, n)` that lie on the rim, `(2, n)`; None where no box has one.

        Along x -1 is the left edge and 1 the right, along y -1 the upper and 1 the lower; 0 is neither, or both.
        """
        gap = xyxy - self._edges
        is_on_rim = np.abs(gap, out=gap) <= self._tolerance
        if not np.count_nonzero(is_on_rim):
            return None
        on_rim = is_on_rim.view(np.int8)
        return (on_rim[2:] - on_rim[:2]).astype(np.float64)
