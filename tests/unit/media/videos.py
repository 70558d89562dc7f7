"""Small videos in many containers, made by PyAV; frame i is a flat grey that says i."""

import io
import tempfile
from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from app.core.errors import SightlineError
from app.core.frame import Frame, FrameRef, Pixels
from app.core.outcome import End, Outcome
from app.core.video import VideoSpec
from app.media.demux_input import VideoSource
from app.media.video import VideoReader

STEP = 8
"""Levels between two frames."""


def grey(index: int, *, width_px: int = 64, height_px: int = 48) -> Pixels:
    return np.full((height_px, width_px, 3), 16 + index * STEP % 224, np.uint8)


@cache
def video(
    container: str = "mp4",
    *,
    codec: str = "libx264",
    n: int = 12,
    size_px: tuple[int, int] = (64, 48),
    rate_hz: int = 25,
    times_ms: tuple[int, ...] = (),
    options: tuple[tuple[str, str], ...] = (),
    muxer: tuple[tuple[str, str], ...] = (),
    pix_fmt: str = "yuv420p",
    has_noise: bool = False,
) -> bytes:
    """`options` go to the encoder, `muxer` to the container; with `times_ms` the rate is variable."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - by name, since an index in front needs a second pass
    with file, av.open(file.name, "w", format=container, options=dict(muxer)) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = *size_px, pix_fmt
        stream.options = dict(options)
        base = Fraction(1, 1000 if times_ms else rate_hz)
        stream.codec_context.time_base = base
        noise = np.random.default_rng(0).integers(0, 256, (n, size_px[1], size_px[0], 3), dtype=np.uint8)
        for index in range(n):
            rgb = noise[index] if has_noise else grey(index, width_px=size_px[0], height_px=size_px[1])
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = (*times_ms, *range(n))[index], base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        output.close()
        return Path(file.name).read_bytes()


ULTRAFAST = (("preset", "ultrafast"), ("tune", "zerolatency"), ("g", "6"))
FASTSTART = (("movflags", "faststart"),)
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)


def reader(
    source: VideoSource | bytes, *, size_px: int = 640, spec: VideoSpec | None = None, **more: Any
) -> VideoReader:
    """For a square model; bytes are wrapped in a file."""
    return VideoReader(
        io.BytesIO(source) if isinstance(source, bytes) else source,
        stream_id="cam",
        spec=spec or VideoSpec(),
        model_width_px=size_px,
        model_height_px=size_px,
        **more,
    )


def outcomes(source: VideoSource | bytes, **more: Any) -> list[Outcome[Frame]]:
    with reader(source, **more) as video_reader:
        return list(video_reader)


def frames(items: list[Outcome[Frame]]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def refs(items: list[Outcome[Frame]]) -> list[FrameRef]:
    return [item.ref for item in items if not isinstance(item, End)]


def kinds(items: list[Outcome[Frame]]) -> Counter[str]:
    return Counter(type(item).__name__ for item in items)


def end_of(items: list[Outcome[Frame]]) -> SightlineError | None:
    """The error of the last item, which must be the only End."""
    ends = [item for item in items if isinstance(item, End)]
    assert ends == items[-1:]
    return ends[0].error


def levels(items: list[Outcome[Frame]]) -> list[int]:
    """Which grey each frame shows, as the index it was made with."""
    return [round((float(frame.rgb.mean()) - 16) / STEP) for frame in frames(items)]
