"""Small bodies that ask for much work: each is answered in under a second, before a decoder sees it."""

import io
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from app.core.errors import TooLargeError, UndecodableError
from app.media.limits import DecodeLimits
from app.media.probe import probe
from tests.unit.media.pictures import decoded, deflated_zeros, encoded, error_of, gradient, png

RGB = gradient()


def jpeg_of(width_px: int, height_px: int) -> bytes:
    """A small JPEG whose frame header claims another size."""
    data = bytearray(encoded(RGB, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = height_px.to_bytes(2, "big") + width_px.to_bytes(2, "big")
    return bytes(data)


def webp_of(width_px: int, height_px: int) -> bytes:
    """A small lossless WebP whose bitstream claims another size."""
    data = bytearray(encoded(RGB, "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    data[at : at + 4] = (width_px - 1 | (height_px - 1) << 14).to_bytes(4, "little")
    return bytes(data)


def extended_webp_of(width_px: int, height_px: int) -> bytes:
    """An animated WebP whose canvas claims another size."""
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "WEBP", save_all=True, append_images=[Image.fromarray(RGB[::-1])])
    data = bytearray(buffer.getvalue())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return bytes(data)


def many_scans(n: int, *, size_px: int = 64) -> bytes:
    """A progressive JPEG that repeats its last, nearly empty scan `n` times."""
    data = encoded(np.zeros((size_px, size_px, 3), np.uint8), "JPEG", progressive=True, subsampling="4:4:4")
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * n + b"\xff\xd9"


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg_of(65_500, 65_500),
        lambda: png(width_px=30_000, height_px=30_000, rows=deflated_zeros(90_000_000)),
        lambda: webp_of(16_383, 16_383),
        lambda: extended_webp_of(16_384, 16_384),
        lambda: extended_webp_of(1 << 24, 1 << 24),
        lambda: many_scans(500),
        lambda: many_scans(99, size_px=2800),
    ],
    ids=["jpeg_65500", "png_900_mpx", "webp_lossless", "webp_animated", "webp_2_to_48", "scans", "large_scans"],
)
def test_a_bomb_is_refused_at_once_and_without_memory(make: Callable[[], bytes]) -> None:
    data = make()
    before_bytes, start_s = peak_bytes(), time.thread_time()
    assert error_of(data) is TooLargeError
    assert time.thread_time() - start_s < 0.1
    assert peak_bytes() - before_bytes < 20_000_000


def test_the_most_that_the_limits_let_through_takes_less_than_a_second() -> None:
    worst = many_scans(86, size_px=2500)
    assert 0.95 < probe(worst).n_scans * 2500 * 2500 / DecodeLimits().max_scan_pixels <= 1
    start_s = time.thread_time()
    assert error_of(worst) in (None, UndecodableError)
    assert time.thread_time() - start_s < 1


def test_deep_pixels_count_by_their_bytes() -> None:
    data = png(width_px=6000, height_px=6000, rows=b"", depth=16, colour=6)
    assert error_of(data) is TooLargeError
    assert error_of(data, limits=DecodeLimits(max_decoded_bytes=400_000_000)) is UndecodableError


def test_a_normal_progressive_jpeg_passes() -> None:
    assert decoded(encoded(RGB, "JPEG", progressive=True)).rgb.shape == (48, 64, 3)
    assert probe(encoded(RGB, "JPEG", progressive=True)).n_scans == 10


def test_a_small_file_of_large_size_is_decoded_within_its_own_pixels() -> None:
    data = simplejpeg.encode_jpeg(np.zeros((7000, 7000, 3), np.uint8), quality=50, colorsubsampling="420")
    frame = decoded(data)
    assert frame.rgb.shape == (875, 875, 3)
    assert (frame.source_width_px, frame.source_height_px) == (7000, 7000)


@pytest.mark.parametrize("size", [(0, 48), (64, 0)])
def test_a_size_of_zero_is_undecodable(size: tuple[int, int]) -> None:
    assert error_of(jpeg_of(*size)) is UndecodableError


def test_limits_are_the_callers_to_set() -> None:
    data = encoded(RGB, "PNG")
    assert error_of(data, limits=DecodeLimits(max_pixels=64 * 48)) is None
    assert error_of(data, limits=DecodeLimits(max_pixels=64 * 48 - 1)) is TooLargeError
