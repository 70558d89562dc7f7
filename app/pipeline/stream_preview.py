"""What one live stream looks like: its newest answered frame, with everything drawn on it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg

from app.core.frame import EncodedFrame, Frame
from app.core.result import FrameResult, Status
from app.media.limits import DEFAULT_LIMITS
from app.media.still import decode_still
from app.pipeline.stream_host import Picture
from app.pipeline.stream_spec import StreamSpec
from app.vision.overlay import LineMark, Overlay, ZoneMark, draw_overlay

_SIDE_PX: Final = 960
_QUALITY: Final = 80
_WANTED_S: Final = 15.0
"""How long after a look frames are still kept: pictures are held for nobody otherwise."""

Totals = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """One answered frame, and the totals of the lines after it."""

    frame: EncodedFrame | Frame
    result: FrameResult
    totals: Totals


class StreamPreview:
    """Keeps the newest answered frame while somebody looks. One event loop; drawing happens on a thread."""

    def __init__(self) -> None:
        self._sight: _Sight | None = None
        self._wanted_until_s = 0.0
        self._seen = asyncio.Event()

    def note(self, frames: Sequence[EncodedFrame | Frame], ends: Sequence[FrameResult], *, totals: Totals) -> None:
        """Frames were answered; `totals` are those of the lines by now."""
        if time.monotonic() > self._wanted_until_s:
            self._sight = None
            return
        by_seq = {frame.ref.seq: frame for frame in frames}
        answered = [end for end in ends if end.status is Status.RESULT and end.seq in by_seq]
        if answered:
            self._sight = _Sight(frame=by_seq[answered[-1].seq], result=answered[-1], totals=totals)
            self._seen.set()
            self._seen = asyncio.Event()

    def close(self) -> None:
        """Let those go who wait for a picture."""
        self._seen.set()

    async def picture(self, spec: StreamSpec, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest answered frame after `after_seq`, drawn; None when none comes within `wait_s` seconds."""
        self._wanted_until_s = time.monotonic() + wait_s + _WANTED_S
        if self._sight is None or self._sight.result.seq <= after_seq:
            try:
                async with asyncio.timeout(wait_s):
                    await self._seen.wait()
            except TimeoutError:
                return None
        if (sight := self._sight) is None or sight.result.seq <= after_seq:
            return None
        return Picture(seq=sight.result.seq, jpeg=await asyncio.to_thread(_drawn, sight, spec))


def _drawn(sight: _Sight, spec: StreamSpec) -> bytes:
    frame = sight.frame
    if isinstance(frame, EncodedFrame):
        # Enough of the picture for whoever looks, whatever the model needs.
        frame = decode_still(frame, model_width_px=_SIDE_PX, model_height_px=_SIDE_PX, limits=DEFAULT_LIMITS)
    rgb = draw_overlay(frame.rgb, _overlay(sight.result, spec, sight.totals))
    return bytes(simplejpeg.encode_jpeg(rgb, quality=_QUALITY, colorspace="RGB", colorsubsampling="420"))


def _overlay(result: FrameResult, spec: StreamSpec, totals: Totals) -> Overlay:
    width_px, height_px = result.width_px or 1, result.height_px or 1
    size = {"width_px": width_px, "height_px": height_px}
    lines = [
        LineMark(name=line.name, points=line.segment.in_pixels(**size), **totals.get(line.name, _NONE))
        for line in spec.lines
    ]
    zones = [
        ZoneMark(
            name=zone.name,
            corners=zone.polygon.in_pixels(**size),
            occupancy=result.zones[zone.name].count,
            entered=result.zones[zone.name].entered,
        )
        for zone in spec.zones
        if zone.name in result.zones
    ]
    return Overlay(
        **size,
        xyxy=np.array([found.box for found in result.objects], dtype=np.float32).reshape(-1, 4),
        labels=[found.label for found in result.objects],
        ids=[found.track_id for found in result.objects],
        scores=[found.score for found in result.objects],
        lines=lines,
        zones=zones,
        title=spec.label,
        captured_at=None if result.captured_at is None else result.captured_at.timestamp(),
        status=f"frame {result.seq}",
    )


_NONE = {"forward": 0, "backward": 0}
