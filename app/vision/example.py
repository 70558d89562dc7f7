"""A picture that every model can be asked about: no file, the same bytes each time."""

import cv2
import numpy as np

from app.core.errors import InternalError


def example_jpeg(*, width_px: int, height_px: int) -> bytes:
    """A grey wedge with two bright blocks, as JPEG."""
    rgb = np.empty((height_px, width_px, 3), dtype=np.uint8)
    rgb[:] = np.linspace(40, 200, width_px, dtype=np.uint8)[None, :, None]
    rgb[height_px // 4 : height_px // 2, width_px // 8 : width_px // 3] = (220, 40, 40)
    rgb[height_px // 2 : 3 * height_px // 4, width_px // 2 : 7 * width_px // 8] = (40, 60, 220)
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise InternalError
    return encoded.tobytes()
