"""Makes what lies on a model's canvas smaller, for a model that takes smaller ones too."""

from dataclasses import replace

import cv2
import numpy as np

from app.core.frame import Letterbox, ModelInput, Pixels


def shrunk(model_input: ModelInput, *, width_px: int, height_px: int) -> ModelInput:
    """Return the same picture on canvases of that size; boxes found there are undone to the same source pixels."""
    return replace(
        model_input,
        canvases=tuple(_smaller(canvas, width_px=width_px, height_px=height_px) for canvas in model_input.canvases),
        letterboxes=tuple(
            _scaled(box, canvas, width_px=width_px, height_px=height_px)
            for box, canvas in zip(model_input.letterboxes, model_input.canvases, strict=True)
        ),
    )


def _smaller(canvas: Pixels, *, width_px: int, height_px: int) -> Pixels:
    smaller = np.empty((height_px, width_px, 3), np.uint8)
    cv2.resize(canvas, (width_px, height_px), dst=smaller, interpolation=cv2.INTER_AREA)
    return smaller


def _scaled(letterbox: Letterbox, canvas: Pixels, *, width_px: int, height_px: int) -> Letterbox:
    ratio_x, ratio_y = width_px / canvas.shape[1], height_px / canvas.shape[0]
    return replace(
        letterbox,
        scale_x=letterbox.scale_x * ratio_x,
        scale_y=letterbox.scale_y * ratio_y,
        pad_x_px=letterbox.pad_x_px * ratio_x,
        pad_y_px=letterbox.pad_y_px * ratio_y,
    )
