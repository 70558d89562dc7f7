"""What may be given as a picture, as the bytes that are sent."""

from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidParameterError

Picture: TypeAlias = bytes | bytearray | memoryview | Path | NDArray[np.uint8]
"""An encoded picture, a file of one, or pixels: `(h, w, 3)` uint8, R first."""
QUALITY: Final = 90
"""Of the JPEG that pixels are sent as."""
_AXES, _CHANNELS = 3, 3


def encoded(picture: Picture) -> bytes:
    """The bytes to send; pixels become a JPEG. OSError for a file that cannot be read."""
    if isinstance(picture, Path):
        return picture.read_bytes()
    if isinstance(picture, np.ndarray):
        return _jpeg(picture)
    return bytes(picture)


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    import simplejpeg

    if rgb.ndim != _AXES or rgb.shape[2] != _CHANNELS or rgb.dtype != np.uint8:
        raise InvalidParameterError(f"pixels are (h, w, 3) uint8, not {rgb.shape} {rgb.dtype}")
    pixels = np.ascontiguousarray(rgb)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420"))
