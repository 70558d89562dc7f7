"""JPEG to RGB, scaled by the inverse DCT itself."""

from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.core.errors import UndecodableError
from app.core.frame import Pixels
from app.media.header import Body, ImageHeader

_EIGHTHS: Final = (1, 2, 4, 8)
"""The scales, in eighths, that libjpeg-turbo has vector code for: 3/8 costs more than 4/8, 5/8 to 7/8 more than 8/8
(1080p, 215 kB, 4:2:0: 2.5, 3.0, 3.7 | 3.5, 6.0, 7.8, 10.8 | 5.4 ms for 1 to 8 eighths; Xeon with AMX, 2026-11-23)."""

_REDUCED: Final = {
    1: cv2.IMREAD_REDUCED_COLOR_8,
    2: cv2.IMREAD_REDUCED_COLOR_4,
    4: cv2.IMREAD_REDUCED_COLOR_2,
    8: cv2.IMREAD_COLOR,
}

_DAMAGE: Final = ("premature end", "bad huffman", "bad arithmetic", "progression", "instead of rst")
"""What libjpeg says of a picture that is broken, in lower case; everything else it warns of leaves the pixels whole."""


def eighths_for(scale: float) -> int:
    """The smallest cheap decoder scale, in eighths, that is not below `scale`."""
    return next((n for n in _EIGHTHS if n >= scale * 8 - 1e-9), 8)


def decode(data: Body, header: ImageHeader, *, scale: float) -> Pixels:
    """The stored pixels at `scale` or more; strict, with cv2 for whole files that simplejpeg does not accept."""
    n = eighths_for(scale)
    width_px, height_px = -(-header.width_px * n // 8), -(-header.height_px * n // 8)
    try:
        rgb = simplejpeg.decode_jpeg(data, "RGB", min_width=width_px, min_height=height_px)
    except (ValueError, RuntimeError) as refusal:
        if any(words in str(refusal).lower() for words in _DAMAGE):
            raise UndecodableError("the JPEG is cut short or broken") from None
        rgb = _by_cv2(data, n)
    if rgb is None or rgb.shape != (height_px, width_px, 3):
        raise UndecodableError("the JPEG cannot be decoded")
    return np.asarray(rgb, dtype=np.uint8)


def _by_cv2(data: Body, n_eighths: int) -> NDArray[Any] | None:
    """The same picture by cv2, which tolerates junk between markers and unusual subsampling."""
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[n_eighths] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    # The reduced flags cannot be joined with IMREAD_COLOR_RGB (OpenCV 5.0.0).
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
