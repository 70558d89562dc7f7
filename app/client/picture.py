"""What may be given as a picture, as the bytes that are sent."""

from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidParameterError

Pixels: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = bytes | bytearray | memoryview | Path | Pixels
"""An encoded picture, a file of one, or pixels: `(h, w, 3)` uint8, R first."""
QUALITY: Final = 90
"""Of the JPEG that pixels are sent as."""
_AXES, _CHANNELS = 3, 3


def encoded(picture: Picture) -> bytes:
    """The bytes to send; pixels become a JPEG. OSError for a file that cannot be read."""
    if isinstance(picture, Path):
        return picture.read_bytes()
    if isinstance(picture, np.ndarray):
        return jpeg(picture)
    return bytes(picture)


def jpeg(pixels: Pixels, *, order: Literal["RGB", "BGR"] = "RGB") -> bytes:
    """Pixels `(h, w, 3)` as a JPEG; InvalidParameterError for other shapes."""
    import simplejpeg

    if pixels.ndim != _AXES or pixels.shape[2] != _CHANNELS or pixels.dtype != np.uint8:
        raise InvalidParameterError(f"pixels are (h, w, 3) uint8, not {pixels.shape} {pixels.dtype}")
    dense = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(dense, quality=QUALITY, colorspace=order, colorsubsampling="420"))
