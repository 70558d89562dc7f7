"""Whether a video file is as long as it says, for the containers that FFmpeg reads to a silent end."""

from typing import Final, Protocol

_MATROSKA: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_TS_PACKET_BYTES: Final = 188
_TS_SYNC: Final = 0x47
_GIF_TRAILER: Final = b"\x3b"
_MAX_BOXES: Final = 100_000
_UNKNOWN_RIFF: Final = (0, 0xFFFFFFFF)


class Readable(Protocol):
    """Bytes by position."""

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`."""

    def size_bytes(self) -> int:
        """The length of the whole."""


def is_cut(source: Readable) -> bool:
    """Whether the container itself says that bytes are missing at the end; False where it cannot say."""
    head = source.read_at(0, _TS_PACKET_BYTES + 1)
    n_bytes = source.size_bytes()
    if head[:4] == _MATROSKA:
        return n_bytes < _matroska_bytes(head)
    if head[:4] == b"RIFF":
        declared = int.from_bytes(head[4:8], "little")
        return declared not in _UNKNOWN_RIFF and n_bytes < declared + 8
    if len(head) > _TS_PACKET_BYTES and head[0] == head[_TS_PACKET_BYTES] == _TS_SYNC:
        return n_bytes % _TS_PACKET_BYTES != 0
    if head[:4] == b"GIF8":
        return source.read_at(n_bytes - 1, 1) != _GIF_TRAILER
    if head[4:8] == b"ftyp":
        return _is_iso_cut(source, n_bytes=n_bytes)
    return False


def _is_iso_cut(source: Readable, *, n_bytes: int) -> bool:
    """Walk the top-level boxes. Source: ISO/IEC 14496-12 section 4.2."""
    position = 0
    for _ in range(_MAX_BOXES):
        box = source.read_at(position, 16)
        if len(box) < 8 or not box[4:8].isascii() or not box[4:8].decode().isprintable():  # noqa: PLR2004 - box header
            return False
        size = int.from_bytes(box[:4], "big")
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        if size < 8:  # noqa: PLR2004 - 0 runs to the end of the file; less is no box
            return False
        position += size
        if position > n_bytes:
            return True
    return False


def _matroska_bytes(head: bytes) -> int:
    """Where the segment ends; 0 where it is of unknown length, as in live recordings. Source: RFC 8794, 4 and 6."""
    size, position = _vint(head, 4)
    start = position + size
    if head[start : start + 4] != _SEGMENT:
        return 0
    size, position = _vint(head, start + 4)
    return position + size if size >= 0 else 0


def _vint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer, -1 if reserved as unknown, and the position behind it."""
    first = data[position] if position < len(data) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    return (-1 if value == (1 << 7 * width) - 1 else value), position + width
