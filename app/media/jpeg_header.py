"""The header of a JPEG: markers up to the first scan, and a count of the scans where there are several."""

import re
from dataclasses import dataclass

from app.core.errors import TooLargeError, UndecodableError, UnsupportedMediaError
from app.media.exif import orientation_of
from app.media.header import Body, ImageFormat, ImageHeader

MAGIC = b"\xff\xd8"

# Source: ITU-T T.81 table B.1.
_SOI, _EOI, _SOS, _DNL, _APP1, _TEM = 0xD8, 0xD9, 0xDA, 0xDC, 0xE1, 0x01
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC share the range
_READABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive; the same arithmetic
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_ARITHMETIC = frozenset({0xC9, 0xCA})
_EXIF = b"Exif\x00\x00"
_FRAME_BYTES = 6
_BITS = 8
_MAX_SEGMENTS = 10_000  # a camera writes 20; the walk stays below 20 ms
_MARKER = re.compile(rb"\xff[^\x00\xff]")  # T.81 B.1.1.2; 0xFF00 and fill bytes are no markers
_SCAN_MARKER = re.compile(rb"\xff\xda")


@dataclass(slots=True)
class _Seen:
    """What the walk has met so far."""

    marker: int = 0
    bit_depth: int = 0
    height_px: int = 0
    width_px: int = 0
    n_components: int = 0
    orientation: int = 1

    def read(self, marker: int, segment: Body) -> None:
        """Take in one segment's payload."""
        if marker == _APP1 and bytes(segment[:6]) == _EXIF and self.orientation == 1:
            self.orientation = orientation_of(segment[6:])
        if marker not in _FRAMES:
            return
        if marker not in _READABLE_FRAMES:
            raise UnsupportedMediaError("lossless and hierarchical JPEGs are not read")
        if self.marker or len(segment) < _FRAME_BYTES:
            raise UndecodableError("the JPEG's frame header is broken")
        self.marker = marker
        self.bit_depth = segment[0]
        self.height_px = segment[1] << 8 | segment[2]
        self.width_px = segment[3] << 8 | segment[4]
        self.n_components = segment[5]


def _next_marker(data: Body, position: int) -> tuple[int, int]:
    """The next marker's code and the position behind it; bytes that are no marker are skipped, as libjpeg does."""
    found = _MARKER.search(data, position)
    if found is None:
        raise UndecodableError("the JPEG ends inside its header")
    return data[found.end() - 1], found.end()


def _walk(data: Body, seen: _Seen) -> tuple[int, int]:
    """Read segments up to the first scan: its position in `data` and how many components it carries."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next_marker(data, position)
        if marker in (_SOI, _EOI):
            raise UndecodableError("the JPEG holds no picture")
        if marker == _TEM or marker in _RESTARTS:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):  # noqa: PLR2004 - the length counts itself
            raise UndecodableError("the JPEG ends inside its header")
        segment = data[position + 2 : position + length]
        if marker == _SOS:
            return position + length, segment[0] if len(segment) else 0
        seen.read(marker, segment)
        position += length
    raise TooLargeError("the JPEG has more header segments than any camera writes")


def read(data: Body) -> ImageHeader:
    """The header; junk between markers is skipped, EXIF read, scans counted where libjpeg would make several passes."""
    seen = _Seen()
    body, n_in_scan = _walk(memoryview(data), seen)
    if not seen.marker:
        raise UndecodableError("the JPEG has no frame header")
    if seen.bit_depth != _BITS:
        raise UnsupportedMediaError(f"JPEGs of {seen.bit_depth} bits per sample are not read")
    if not (seen.width_px and seen.height_px and seen.n_components):
        raise UndecodableError("the JPEG gives no size")
    is_multi_scan = seen.marker in _PROGRESSIVE or n_in_scan < seen.n_components
    return ImageHeader(
        format=ImageFormat.JPEG,
        width_px=seen.width_px,
        height_px=seen.height_px,
        orientation=seen.orientation,
        n_components=seen.n_components,
        is_progressive=seen.marker in _PROGRESSIVE,
        is_arithmetic=seen.marker in _ARITHMETIC,
        n_scans=1 + sum(1 for _ in _SCAN_MARKER.finditer(data, body)) if is_multi_scan else 1,
    )
