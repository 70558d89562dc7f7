"""Turning a picture upright: the eight ways a camera may have been held."""

from typing import Final

import numpy as np

from app.core.frame import Pixels

IDENTITY: Final = 1
_SWAPS_AXES: Final = 5  # EXIF 2.32, 4.6.4: 5 to 8 store columns as rows

# EXIF orientation to (transpose first, then flip rows, then flip columns).
_STEPS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def swaps_axes(orientation: int) -> bool:
    """Whether the upright picture has width and height exchanged."""
    return orientation >= _SWAPS_AXES


def upright(rgb: Pixels, orientation: int) -> Pixels:
    """The picture as it should be seen: EXIF `orientation` 1 to 8 undone; the same array for 1."""
    if orientation == IDENTITY:
        return rgb
    import cv2  # the decoder processes of pulled sources do without, as long as nothing is turned

    transpose, flip_rows, flip_columns = _STEPS[orientation]
    turned = cv2.transpose(rgb) if transpose else rgb
    if flip_rows or flip_columns:
        turned = cv2.flip(turned, {(True, True): -1, (True, False): 0, (False, True): 1}[flip_rows, flip_columns])
    return np.asarray(turned, dtype=np.uint8)


def orientation_of_matrix(matrix: tuple[int, ...]) -> int:
    """The EXIF orientation of a 3 x 3 display matrix; rotations that are no quarter turn count as none.

    Source: ISO/IEC 14496-12 section 6.2.2: `(x', y') = (a x + c y, b x + d y)` for `a b u / c d v / x y w`.
    """
    a, b, c, d = ((value > 0) - (value < 0) for value in (matrix[0], matrix[1], matrix[3], matrix[4]))
    return {
        (1, 0, 0, 1): 1,
        (-1, 0, 0, 1): 2,
        (-1, 0, 0, -1): 3,
        (1, 0, 0, -1): 4,
        (0, 1, 1, 0): 5,
        (0, 1, -1, 0): 6,
        (0, -1, -1, 0): 7,
        (0, -1, 1, 0): 8,
    }.get((a, b, c, d), IDENTITY)
