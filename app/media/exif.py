"""The orientation tag of an EXIF block."""

from typing import Final, Literal

from app.media.header import Body

_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II": "little", b"MM": "big"}
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12
_TIFF_HEADER_BYTES = 8
_ORIENTATIONS = range(1, 9)


def orientation_of(tiff: Body) -> int:
    """The orientation 1 to 8 in IFD0 of a TIFF block; 1 where there is none or the block is broken.

    Source: EXIF 2.32 section 4.5 (TIFF structure) and 4.6.4 (tag 0x0112).
    """
    order = _ORDERS.get(bytes(tiff[:2]))
    if order is None or len(tiff) < _TIFF_HEADER_BYTES:
        return 1

    def number(offset: int, size: int) -> int:
        return int.from_bytes(tiff[offset : offset + size], order)

    start = number(4, 4)
    for index in range(number(start, 2)):
        entry = start + 2 + index * _ENTRY_BYTES
        if entry + _ENTRY_BYTES > len(tiff):
            break
        if number(entry, 2) == _ORIENTATION_TAG and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if value in _ORIENTATIONS else 1
    return 1
