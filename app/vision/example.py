"""A picture that every part can warm itself on and be checked with: always the same, never a file."""

import cv2
import numpy as np

from app.core.frame import Pixels

_SHAPES = (((0.18, 0.30), (214, 40, 40)), ((0.50, 0.62), (40, 170, 60)), ((0.78, 0.40), (40, 70, 220)))
"""Centres as fractions of the picture, and colours."""


def example_picture(*, width_px: int, height_px: int) -> Pixels:
    """Return a street-grey gradient with three coloured shapes: nothing a network may skip as constant."""
    y, x = np.mgrid[:height_px, :width_px].astype(np.float32)
    rgb = np.empty((height_px, width_px, 3), np.uint8)
    rgb[:] = (70 + 50 * y / height_px + 8 * np.sin(x / 7))[..., None]
    for (centre_x, centre_y), colour in _SHAPES:
        middle = (round(centre_x * width_px), round(centre_y * height_px))
        axes = (max(width_px // 14, 1), max(height_px // 7, 1))
        cv2.ellipse(rgb, middle, axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
    return rgb


def example_jpeg(*, width_px: int, height_px: int) -> bytes:
    """Return the picture as a JPEG of quality 90."""
    rgb = example_picture(width_px=width_px, height_px=height_px)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()
