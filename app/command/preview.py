"""`sightline preview`: a small upright JPEG of any picture, without any model."""

import sys
from pathlib import Path

from app.core.frame import EncodedFrame, FrameRef
from app.media.limits import DecodeLimits
from app.media.preview import preview_jpeg


def run(image: Path, *, out: Path, max_side_px: int, quality: int, limits: DecodeLimits) -> int:
    """Exit code 0 when the preview lies at `out`; `-` is stdout."""
    encoded = EncodedFrame(data=image.read_bytes(), ref=FrameRef(stream_id=image.name, seq=0))
    jpeg = preview_jpeg(encoded, max_side_px=max_side_px, quality=quality, limits=limits)
    if str(out) == "-":
        sys.stdout.buffer.write(jpeg)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(jpeg)
    return 0
