"""Whatever the bytes, a picture or a SightlineError: nothing else, and no crash."""

import contextlib
import zlib

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.core.errors import SightlineError
from app.media.probe import probe
from tests.unit.media.pictures import ASSETS, animated_webp, encoded, error_of, exif, gradient

RGB = gradient()
SEEDS = [
    encoded(RGB, "JPEG", exif=exif(6)),
    encoded(RGB, "JPEG", progressive=True),
    encoded(RGB, "JPEG", mode="CMYK"),
    (ASSETS / "arithmetic.jpg").read_bytes(),
    (ASSETS / "sampled_mixed.jpg").read_bytes(),
    encoded(RGB, "PNG", mode="RGBA", exif=exif(3)),
    encoded(RGB, "PNG", mode="P", transparency=bytes(16)),
    encoded(RGB, "WEBP", lossless=True, exif=exif(8)),
    encoded(RGB, "WEBP", quality=60),
    animated_webp([RGB, RGB[::-1]]),
]
POSITION = st.floats(0, 1, exclude_max=True)


def flipped(data: bytes, flips: list[tuple[float, int]]) -> bytes:
    damaged = bytearray(data)
    for position, bit in flips:
        damaged[int(position * len(damaged))] ^= 1 << bit
    return bytes(damaged)


def with_true_crcs(data: bytes) -> bytes:
    """A PNG whose checksums match again, so that the damage reaches the decoder."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = min(len(data) - 4, at + 8 + int.from_bytes(data[at : at + 4], "big"))
        parts.append(data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4, "big"))
        at = end + 4
    return b"".join(parts)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.lists(st.tuples(POSITION, st.integers(0, 7)), min_size=1, max_size=6), POSITION)
@example(SEEDS[0], [(0.0, 0)], 0.5)
def test_flipped_bits_and_cuts_end_in_a_picture_or_a_typed_error(
    data: bytes, flips: list[tuple[float, int]], cut: float
) -> None:
    damaged = flipped(data, flips)
    assert error_of(damaged) is None or issubclass(error_of(damaged), SightlineError)
    assert issubclass(error_of(data[: int(cut * len(data))]), SightlineError)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([SEEDS[5], SEEDS[6]]), st.lists(st.tuples(POSITION, st.integers(0, 7)), min_size=1, max_size=4))
def test_a_damaged_png_with_true_checksums_is_no_exception(data: bytes, flips: list[tuple[float, int]]) -> None:
    damaged = with_true_crcs(flipped(data, flips))
    assert error_of(damaged) is None or issubclass(error_of(damaged), SightlineError)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x01\x00\x00WEBP", b""]), st.binary(max_size=400)
)
def test_any_bytes_behind_a_magic_are_answered(magic: bytes, tail: bytes) -> None:
    with contextlib.suppress(SightlineError):
        probe(magic + tail)
