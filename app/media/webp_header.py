"""The header of a WebP: the canvas of VP8, VP8L and VP8X, EXIF, and whether the file is whole."""

from collections.abc import Iterator
from typing import Final

from app.core.errors import TooLargeError, UndecodableError
from app.media.exif import orientation_of
from app.media.header import Body, ImageFormat, ImageHeader

# Source: WebP container specification (RFC 9649), sections 2.3 to 2.7.
_RIFF_BYTES: Final = 12
_CHUNK_BYTES: Final = 8
_VP8_START: Final = b"\x9d\x01\x2a"
_VP8L_SIGNATURE: Final = 0x2F
_HAS_ALPHA, _IS_ANIMATED = 0x10, 0x02
_MAX_CHUNKS: Final = 100_000
_EXIF_PREFIX: Final = b"Exif\x00\x00"  # some writers keep JPEG's prefix


def is_webp(data: Body) -> bool:
    """Whether the magic is there."""
    return bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP"


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Chunk types and payloads; raises UndecodableError where the file is cut."""
    end = _CHUNK_BYTES + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise UndecodableError("the WebP is cut short")
    position = _RIFF_BYTES
    for _ in range(_MAX_CHUNKS):
        if position + _CHUNK_BYTES > end:
            return
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + _CHUNK_BYTES + length > end:
            raise UndecodableError("the WebP is cut short")
        yield bytes(data[position : position + 4]), data[position + _CHUNK_BYTES : position + _CHUNK_BYTES + length]
        position += _CHUNK_BYTES + length + length % 2
    raise TooLargeError("the WebP has too many chunks")


def _number(payload: memoryview, offset: int, size: int) -> int:
    return int.from_bytes(payload[offset : offset + size], "little")


def _size_px(kind: bytes, payload: memoryview) -> tuple[int, int]:
    """Width and height that one bitstream or canvas chunk declares; (0, 0) for any other chunk."""
    if kind == b"VP8X":
        return _number(payload, 4, 3) + 1, _number(payload, 7, 3) + 1
    if kind == b"ANMF":
        return _number(payload, 6, 3) + 1, _number(payload, 9, 3) + 1
    if kind == b"VP8L" and len(payload) and payload[0] == _VP8L_SIGNATURE:
        bits = _number(payload, 1, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and bytes(payload[3:6]) == _VP8_START:
        return _number(payload, 6, 2) & 0x3FFF, _number(payload, 8, 2) & 0x3FFF
    return 0, 0


def _exif(payload: memoryview) -> memoryview:
    return payload[6:] if bytes(payload[:6]) == _EXIF_PREFIX else payload


def read(data: Body) -> ImageHeader:
    """The header; the size is the largest that any chunk declares, so that no decoder meets a larger one."""
    width_px = height_px = flags = 0
    orientation = 1
    has_alpha = False
    for kind, payload in _chunks(memoryview(data)):
        chunk_width_px, chunk_height_px = _size_px(kind, payload)
        width_px, height_px = max(width_px, chunk_width_px), max(height_px, chunk_height_px)
        if kind == b"VP8X":
            flags |= payload[0] if len(payload) else 0
        elif kind == b"VP8L":
            has_alpha = has_alpha or bool(_number(payload, 1, 4) >> 28 & 1)
        elif kind == b"EXIF":
            orientation = orientation_of(_exif(payload))
    if not (width_px and height_px):
        raise UndecodableError("the WebP gives no size")
    has_alpha = has_alpha or bool(flags & _HAS_ALPHA)
    return ImageHeader(
        format=ImageFormat.WEBP,
        width_px=width_px,
        height_px=height_px,
        orientation=orientation,
        n_components=4 if has_alpha else 3,
        has_alpha=has_alpha,
        is_animated=bool(flags & _IS_ANIMATED),
    )
