"""Any picture to a small upright JPEG."""

from typing import Final

import simplejpeg

from app.core.frame import EncodedFrame
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.still import decode_still
from app.vision.steps import MaxSide

MAX_SIDE_PX: Final = 512
QUALITY: Final = 85
"""Both from MISSION.md row 5."""
SIDES_PX: Final = range(16, 4097)
QUALITIES: Final = range(1, 101)
_OVERSAMPLING: Final = 2
"""What the decoder must leave for the Lanczos filter to choose from: below twice the target it would blur."""


def preview_jpeg(
    encoded: EncodedFrame,
    *,
    max_side_px: int = MAX_SIDE_PX,
    quality: int = QUALITY,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> bytes:
    """The picture upright, its longer side at most `max_side_px` (never enlarged), as a 4:2:0 JPEG without metadata.

    Raises what `decode_still` raises.
    """
    decoded_px = max_side_px * _OVERSAMPLING
    frame = decode_still(encoded, model_width_px=decoded_px, model_height_px=decoded_px, limits=limits)
    small = MaxSide(px=max_side_px, filter="lanczos")(frame)
    return bytes(simplejpeg.encode_jpeg(small.rgb, quality=quality, colorspace="RGB", colorsubsampling="420"))
