"""A short stretch of a camera's pictures, encoded once, for servers that play it over and over."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from load_tests.camfarm.jpeg import encode_jpeg
from load_tests.camfarm.painter import render
from load_tests.camfarm.scene import Camera, Scene

_START = b"\x00\x00\x00\x01"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Pictures 0, 1, … of one camera: as H.264 access units (Annex B), each of the first in a group whole, and as JPEG.

    A picture's barcode is `(camera.stream, its index)`.
    """

    camera: Camera
    units: tuple[bytes, ...]
    jpegs: tuple[bytes, ...]
    group: int

    def __len__(self) -> int:
        return len(self.units)

    @property
    def parameter_sets(self) -> tuple[bytes, bytes]:
        """SPS and PPS."""
        found = {unit[0] & 0x1F: unit for unit in nal_units(self.units[0])}
        return found[7], found[8]


def make_clip(scene: Scene, camera: Camera, *, frames: int, group: int | None = None) -> Clip:
    """The camera's first pictures; a group (a key frame and what builds on it) lasts a second by default."""
    group = group or max(1, round(camera.fps))
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = camera.width_px, camera.height_px, "yuv420p"
    context.time_base = 1 / Fraction(camera.fps).limit_denominator(1001)
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0:repeat-headers=1:annexb=1:slice-max-size=0",
    }
    units, jpegs = [], []
    for shot in render(scene, camera, frames=frames):
        picture = av.VideoFrame.from_ndarray(shot.rgb, format="rgb24")
        picture.pts = shot.seq
        units.extend(bytes(packet) for packet in context.encode(picture))
        jpegs.append(encode_jpeg(shot.rgb, quality=85))
    units.extend(bytes(packet) for packet in context.encode(None))
    return Clip(camera=camera, units=tuple(units), jpegs=tuple(jpegs), group=group)


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """The NAL units of an access unit, without their start codes. Source: ITU-T H.264 annex B."""
    for piece in access_unit.replace(_START, _START[1:]).split(_START[1:]):
        if piece:
            yield piece
