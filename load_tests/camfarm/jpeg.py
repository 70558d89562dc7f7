"""Frames as JPEG."""

import cv2
import numpy as np
import numpy.typing as npt


def encode_jpeg(rgb: npt.NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """A frame (h, w, 3) RGB as a baseline JPEG with 4:2:0 chroma."""
    is_written, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_written:
        message = f"no JPEG of a frame shaped {rgb.shape}"
        raise ValueError(message)
    return bytes(data.tobytes())
