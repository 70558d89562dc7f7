"""Pixels that come as they are: a request's bytes seen as a picture, without copying them."""

from typing import Final

import numpy as np

from app.core.errors import InvalidParameterError
from app.core.frame import Pixels
from app.media.header import Body

_CHANNELS: Final = 3


def rgb_view(data: Body, size_px: tuple[int, int]) -> Pixels:
    """`(h, w, 3)` over the very memory of `data`, read-only: interleaved R, G, B rows from the top, no padding.

    `size_px` is `(width_px, height_px)`. Raises InvalidParameterError unless there are exactly that many bytes.
    """
    width_px, height_px = size_px
    n_bytes = memoryview(data).nbytes
    if min(size_px) < 1 or n_bytes != width_px * height_px * _CHANNELS:
        raise InvalidParameterError(
            f"the body has {n_bytes} bytes; RGB of {width_px} x {height_px} has {width_px * height_px * _CHANNELS}"
        )
    pixels = np.frombuffer(data, np.uint8).reshape(height_px, width_px, _CHANNELS)
    pixels.flags.writeable = False
    return pixels
