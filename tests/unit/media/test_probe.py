import time
from typing import Any

import numpy as np
import pytest

from app.core.errors import InvalidRequestError, TooLargeError, UndecodableError, UnsupportedMediaError
from app.media.header import ImageFormat
from app.media.probe import probe
from tests.unit.media.pictures import ASSETS, animated_webp, encoded, exif, gradient

RGB = gradient()


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80})]
)
def test_format_and_size_are_read_from_the_bytes(kind: str, options: dict[str, Any]) -> None:
    header = probe(encoded(RGB, kind, **options))
    assert (header.format, header.width_px, header.height_px) == (ImageFormat[kind], 64, 48)
    assert (header.orientation, header.bit_depth, header.n_components) == (1, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_read_in_every_format(kind: str, orientation: int) -> None:
    assert probe(encoded(RGB, kind, exif=exif(orientation))).orientation == orientation


@pytest.mark.parametrize(
    "block",
    [b"", b"MM", b"II*\x00\xff\xff\xff\xff", b"MM\x00*\x00\x00\x00\x08\xff\xff", b"XX\x00*\x00\x00\x00\x08\x00\x01"],
)
def test_a_broken_exif_block_means_upright(block: bytes) -> None:
    data = encoded(RGB, "JPEG")
    segment = b"Exif\x00\x00" + block
    marker = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big")
    assert probe(data[:2] + marker + segment + data[2:]).orientation == 1


def test_upright_size_swaps_for_a_turned_picture() -> None:
    assert probe(encoded(RGB, "JPEG", exif=exif(6))).upright_size_px == (48, 64)


@pytest.mark.parametrize(
    ("name", "is_progressive", "is_arithmetic", "n_scans"),
    [
        ("arithmetic.jpg", False, True, 1),
        ("arithmetic_progressive.jpg", True, True, 10),
        ("three_scans.jpg", False, False, 3),
        ("restarts.jpg", False, False, 1),
    ],
)
def test_jpeg_coding_and_scans_are_told(name: str, *, is_progressive: bool, is_arithmetic: bool, n_scans: int) -> None:
    header = probe((ASSETS / name).read_bytes())
    assert (header.is_progressive, header.is_arithmetic, header.n_scans) == (is_progressive, is_arithmetic, n_scans)


@pytest.mark.parametrize(
    ("mode", "n", "has_alpha"), [("L", 1, False), ("LA", 4, True), ("RGBA", 4, True), ("P", 3, False)]
)
def test_png_components_are_told(mode: str, n: int, *, has_alpha: bool) -> None:
    header = probe(encoded(RGB, "PNG", mode=mode))
    assert (header.n_components, header.has_alpha) == (n, has_alpha)


def test_an_animation_is_told() -> None:
    header = probe(animated_webp([RGB, RGB[::-1]]))
    assert header.is_animated
    assert (header.width_px, header.height_px) == (64, 48)


def test_an_empty_body_is_a_malformed_request() -> None:
    with pytest.raises(InvalidRequestError):
        probe(b"")


@pytest.mark.parametrize(
    "data", [b"GIF89a" + bytes(20), b"BM" + bytes(60), b"hello", b"\x00", b"%PDF-1.7", b"RIFF1234WAVE"]
)
def test_another_format_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaError):
        probe(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_header_cut_anywhere_is_undecodable(kind: str) -> None:
    data = encoded(RGB, kind)
    for size in range(9, 30):
        with pytest.raises(UndecodableError):
            probe(data[:size])


@pytest.mark.parametrize(("precision", "marker"), [(12, 0xC1), (8, 0xC3), (8, 0xF7), (16, 0xC3)])
def test_jpegs_beyond_eight_bits_and_lossless_ones_are_refused(precision: int, marker: int) -> None:
    frame = bytes([0xFF, marker, 0, 17, precision, 0, 48, 0, 64, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    scan = bytes([0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0])
    with pytest.raises((UnsupportedMediaError, UndecodableError)):
        probe(b"\xff\xd8" + frame + scan)


def test_endless_segments_are_refused_quickly() -> None:
    start_s = time.thread_time()
    with pytest.raises(TooLargeError):
        probe(b"\xff\xd8" + b"\xff\xe2\x00\x02" * 2_000_000)
    with pytest.raises(UndecodableError):
        probe(b"\xff\xd8" + bytes(8_000_000))
    assert time.thread_time() - start_s < 1


def test_the_body_is_not_copied() -> None:
    body = bytearray(encoded(np.tile(RGB, (4, 4, 1)), "JPEG"))
    view = memoryview(body)
    probe(view)
    view.release()
    body.clear()  # fails with BufferError while anything still holds the body
