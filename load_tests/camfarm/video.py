"""Frames as MP4; the only module of the farm that needs PyAV, so it is imported by name."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from load_tests.camfarm.painter import Shot


def write_mp4(path: Path | str, shots: Iterable[Shot], fps: float, *, crf: int = 23, preset: str = "veryfast") -> int:
    """Write the shots as H.264 (4:2:0) and return how many; frame i is presented at i / fps seconds.

    Width and height must be even. ValueError when there are no shots.
    """
    rate = Fraction(fps).limit_denominator(1001)
    written = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": preset})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / rate
        for shot in shots:
            if written == 0:
                stream.height, stream.width = shot.rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(shot.rgb, format="rgb24")
            frame.pts, frame.time_base = written, 1 / rate
            container.mux(stream.encode(frame))
            written += 1
        if written == 0:
            message = "a video needs at least one frame"
            raise ValueError(message)
        container.mux(stream.encode(None))
    return written
