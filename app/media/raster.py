"""PNG and WebP to RGB: depth, transparency and size."""

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import UndecodableError
from app.core.frame import Pixels
from app.media.header import Body, ImageHeader

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it would log is up to the file's sender

_OPAQUE: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_BITS: Final = 8
_N_WITH_ALPHA: Final = 4


def decode(data: Body, header: ImageHeader, *, scale: float) -> Pixels:
    """The stored pixels at `scale` or more; transparent ones lie on white, 16 bits are rounded to 8."""
    as_stored = header.has_alpha or header.bit_depth > _BITS or header.transparent_level is not None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if as_stored else _OPAQUE)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height_px, header.width_px):
        raise UndecodableError(f"the {header.format.upper()} is cut short or broken")
    return _reduced(_as_rgb(pixels, header) if as_stored else np.asarray(pixels, dtype=np.uint8), scale=scale)


def _as_rgb(stored: NDArray[Any], header: ImageHeader) -> Pixels:
    """8-bit RGB of whatever cv2 left as stored: grey, BGR or BGRA, 8 or 16 bits."""
    is_clear = None if header.transparent_level is None else stored == _stored_level(header)
    pixels: NDArray[Any] = stored if stored.dtype == np.uint8 else cv2.convertScaleAbs(stored, alpha=1 / 257)
    if pixels.ndim == 2:  # noqa: PLR2004 - grey has rows and columns only
        rgb = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    elif pixels.shape[2] == _N_WITH_ALPHA:
        rgb = _on_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), pixels[..., 3])
    else:
        rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if is_clear is not None:
        rgb[is_clear] = 255
    return np.asarray(rgb, dtype=np.uint8)


def _stored_level(header: ImageHeader) -> int:
    """The transparent grey level as cv2 gives it: depths below 8 bits are spread over 0 to 255."""
    level = header.transparent_level or 0
    return level * 255 // ((1 << header.bit_depth) - 1) if header.bit_depth < _BITS else level


def _on_white(rgb: Any, alpha: NDArray[Any]) -> Any:
    """The picture over white, the paper most of them were drawn for: `255 - (255 - rgb) * alpha / 255`."""
    ink = cv2.multiply(cv2.bitwise_not(rgb), cv2.merge([alpha, alpha, alpha]), scale=1 / 255)
    return cv2.bitwise_not(ink)


def _reduced(rgb: Pixels, *, scale: float) -> Pixels:
    """The picture divided by the largest whole number that keeps it at `scale` or more."""
    divisor = max(1, math.floor(1 / scale + 1e-9))
    if divisor == 1:
        return rgb
    height_px, width_px = rgb.shape[:2]
    size_px = (-(-width_px // divisor), -(-height_px // divisor))
    return np.asarray(cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)
