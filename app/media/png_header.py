"""The header of a PNG: IHDR, the chunks that change how samples are read, and whether the file is whole."""

from collections.abc import Iterator
from typing import Final

from app.core.errors import TooLargeError, UndecodableError
from app.media.exif import orientation_of
from app.media.header import Body, ImageFormat, ImageHeader

MAGIC: Final = b"\x89PNG\r\n\x1a\n"

# Source: PNG 3rd edition, section 11.2.1: components per colour type, and the depths each allows.
_N_COMPONENTS: Final = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_GREY: Final = 0
_WITH_ALPHA: Final = (4, 6)
_IHDR_BYTES: Final = 13
_CHUNK_FRAME_BYTES: Final = 12  # length, type, CRC
_MAX_CHUNKS: Final = 100_000  # 800 MB at the usual 8 kB; the walk stays below 100 ms


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Chunk types and payloads up to IEND; raises UndecodableError where the file is cut."""
    position = len(MAGIC)
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        if position + _CHUNK_FRAME_BYTES + length > len(data):
            raise UndecodableError("the PNG is cut short")
        kind = bytes(data[position + 4 : position + 8])
        yield kind, data[position + 8 : position + 8 + length]
        if kind == b"IEND":
            return
        position += _CHUNK_FRAME_BYTES + length
    raise TooLargeError("the PNG has too many chunks")


def read(data: Body) -> ImageHeader:
    """The header; raises UndecodableError for a broken IHDR and for a file that does not reach its IEND."""
    chunks = _chunks(memoryview(data))
    kind, ihdr = next(chunks)
    if kind != b"IHDR" or len(ihdr) != _IHDR_BYTES:
        raise UndecodableError("the PNG does not begin with its header")
    width_px, height_px = int.from_bytes(ihdr[:4], "big"), int.from_bytes(ihdr[4:8], "big")
    bit_depth, colour_type = ihdr[8], ihdr[9]
    if not (width_px and height_px) or bit_depth not in _DEPTHS.get(colour_type, ()):
        raise UndecodableError("the PNG's header is broken")
    transparency: memoryview | None = None
    orientation = 1
    for kind, payload in chunks:
        if kind == b"tRNS":
            transparency = payload
        elif kind == b"eXIf":
            orientation = orientation_of(payload)
    is_keyed_grey = transparency is not None and colour_type == _GREY
    has_alpha = colour_type in _WITH_ALPHA or (transparency is not None and not is_keyed_grey)
    return ImageHeader(
        format=ImageFormat.PNG,
        width_px=width_px,
        height_px=height_px,
        orientation=orientation,
        n_components=4 if has_alpha else _N_COMPONENTS[colour_type],
        bit_depth=bit_depth,
        has_alpha=has_alpha,
        transparent_level=int.from_bytes(transparency[:2], "big") if transparency and is_keyed_grey else None,
    )
