"""Small pictures in every encoding, with pixels that a test can predict."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from app.core.errors import SightlineError
from app.core.frame import Frame, Pixels
from app.core.query import Query
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.still import decode_still
from tests.builders import make_encoded

ASSETS = Path(__file__).parents[2] / "assets"


def gradient(*, width_px: int = 64, height_px: int = 48) -> Pixels:
    """Smooth, without symmetry: every orientation of it differs from every other."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    red, green = x * 255 // (width_px - 1), y * 255 // (height_px - 1)
    return np.stack([red, green, (x + y) * 255 // (width_px + height_px - 2)], -1).astype(np.uint8)


def encoded(rgb: Pixels, kind: str, *, mode: str = "RGB", **options: object) -> bytes:
    """By Pillow; `mode` converts first."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def animated_webp(rgbs: list[Pixels]) -> bytes:
    buffer = io.BytesIO()
    first, *rest = [Image.fromarray(rgb) for rgb in rgbs]
    first.save(buffer, "WEBP", save_all=True, append_images=rest, lossless=True)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(*, width_px: int, height_px: int, rows: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG from its raw rows, each with a filter byte, already deflated."""
    header = struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def deflated_zeros(n_bytes: int) -> bytes:
    """A valid deflate stream of that many zeros, made a piece at a time."""
    packer = zlib.compressobj(9)
    piece = bytes(1 << 20)
    parts = [packer.compress(piece) for _ in range(n_bytes >> 20)]
    return b"".join(parts) + packer.compress(bytes(n_bytes & ((1 << 20) - 1))) + packer.flush()


def decoded(
    data: bytes | memoryview, *, size_px: int = 640, query: Query | None = None, limits: DecodeLimits = DEFAULT_LIMITS
) -> Frame:
    """`decode_still` for a square model."""
    return decode_still(make_encoded(data, query=query), model_width_px=size_px, model_height_px=size_px, limits=limits)


def error_of(data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS) -> type[SightlineError] | None:
    """The type of error that decoding ends in; None for a picture."""
    try:
        decoded(data, limits=limits)
    except SightlineError as error:
        return type(error)
    return None


def mean_error(rgb: Pixels, expected: Pixels) -> float:
    """Mean absolute difference in levels; infinite where the shapes differ."""
    return float(np.abs(rgb.astype(int) - expected).mean()) if rgb.shape == expected.shape else float("inf")
