"""Frames to an H.264 file that any player and browser opens at once."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from app.core.frame import Pixels
from app.media.opening import AV_ERRORS

_TICKS_HZ: Final = 90_000
_BT709: Final = 1  # ITU-T H.273: primaries, transfer and matrix share the number
_LIMITED: Final = 1


class VideoWriter:
    """An MP4 being written: H.264, 4:2:0, index in front. Leaving it by an exception removes the file.

    Frames keep their own times where `pts_s` is given to `write`, else they follow each other at `fps`. An odd last
    row or column is doubled, since 4:2:0 has none.
    """

    def __init__(self, path: Path | str, *, width_px: int, height_px: int, fps: float = 25.0) -> None:
        self._path = Path(path)
        self._size_px = (width_px, height_px)
        self._period_s = 1 / fps
        self._last_tick = -1
        self._next_s = 0.0
        self._is_closed = False
        self._reformatter = VideoReformatter()
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "faststart"})
        stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width_px + width_px % 2, height_px + height_px % 2, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS_HZ)
        stream.codec_context.colorspace = stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc, stream.codec_context.color_range = _BT709, _LIMITED
        self._stream = stream

    def write(self, rgb: Pixels, *, pts_s: float | None = None) -> None:
        """Append one picture of the size given at the start; times that do not grow are moved on by one tick."""
        if rgb.shape != (self._size_px[1], self._size_px[0], 3):
            raise ValueError(f"expected {self._size_px[1]} x {self._size_px[0]} x 3, got {rgb.shape}")
        due_s = self._next_s if pts_s is None else pts_s
        self._next_s = due_s + self._period_s
        self._last_tick = max(self._last_tick + 1, round(due_s * _TICKS_HZ))
        height_px, width_px = rgb.shape[:2]
        if width_px % 2 or height_px % 2:
            rgb = np.asarray(cv2.copyMakeBorder(rgb, 0, height_px % 2, 0, width_px % 2, cv2.BORDER_REPLICATE), np.uint8)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=_LIMITED,
        )
        frame.pts, frame.time_base = self._last_tick, Fraction(1, _TICKS_HZ)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.close()
        except AV_ERRORS:
            if kind is None:
                raise
        finally:
            if kind is not None:
                self._path.unlink(missing_ok=True)
