import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from app.core.errors import UndecodableError
from app.core.query import Query
from app.media.probe import probe
from tests.unit.media.pictures import (
    ASSETS,
    animated_webp,
    decoded,
    deflated_zeros,
    encoded,
    exif,
    gradient,
    mean_error,
    png,
    png_chunk,
)

RGB = gradient()
LARGE = gradient(width_px=1920, height_px=1080)


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 1.5),
        ("JPEG", {"quality": 95, "progressive": True}, 1.5),
        ("JPEG", {"quality": 95, "subsampling": "4:4:4"}, 1.5),
        ("JPEG", {"quality": 95, "mode": "CMYK"}, 2.0),
        ("PNG", {}, 0),
        ("PNG", {"mode": "RGBA"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 3.0),
    ],
)
def test_colours_survive(kind: str, options: dict[str, Any], tolerance: float) -> None:
    frame = decoded(encoded(RGB, kind, **options))
    assert mean_error(frame.rgb, RGB) <= tolerance
    assert (frame.source_width_px, frame.source_height_px) == (64, 48)
    assert not frame.rgb.flags.writeable


@pytest.mark.parametrize("name", sorted(path.name for path in ASSETS.glob("*.jpg")))
def test_rare_jpegs_are_decoded(name: str) -> None:
    data = (ASSETS / name).read_bytes()
    assert mean_error(decoded(data).rgb, RGB) < 3
    assert decoded(data, size_px=32).rgb.shape == (24, 32, 3)
    assert decoded(data, size_px=8).rgb.shape == (6, 8, 3)


def test_adobe_ycck_is_inverted_as_its_marker_says() -> None:
    ink = np.concatenate([255 - RGB, np.zeros((48, 64, 1), np.uint8)], -1)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(255 - ink), colorspace="CMYK", quality=95)
    assert b"Adobe" in data
    assert mean_error(decoded(data).rgb, RGB) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    frame = decoded(encoded(RGB, kind, mode="L"))
    assert frame.rgb.shape == (48, 64, 3)
    assert np.abs(frame.rgb[..., 0].astype(int) - frame.rgb[..., 2]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_ends_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "turned"
    path.write_bytes(encoded(RGB, kind, exif=exif(orientation)))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    frame = decoded(path.read_bytes())
    assert mean_error(frame.rgb, expected) < 1
    assert (frame.source_height_px, frame.source_width_px) == expected.shape[:2]


@pytest.mark.parametrize(
    ("size_px", "shape"), [(1920, (1080, 1920)), (641, (540, 960)), (640, (540, 960)), (480, (270, 480))]
)
def test_jpegs_are_scaled_by_the_decoder_and_still_cover_the_model(size_px: int, shape: tuple[int, int]) -> None:
    frame = decoded(encoded(LARGE, "JPEG"), size_px=size_px)
    assert frame.rgb.shape[:2] == shape
    assert (frame.source_width_px, frame.source_height_px) == (1920, 1080)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_region_or_tiles_keep_the_pixels_they_need(kind: str) -> None:
    data = encoded(LARGE, kind)
    whole = decoded(data, size_px=320).rgb.shape
    assert decoded(data, size_px=320, query=Query(roi=(0.0, 0.0, 0.25, 0.25))).rgb.shape[1] * 0.25 >= 320
    assert decoded(data, size_px=320, query=Query(tile=3)).rgb.shape[1] > whole[1]


def test_a_scaled_jpeg_shows_the_same_picture() -> None:
    small = np.asarray(Image.fromarray(LARGE).resize((480, 270), Image.Resampling.BOX))
    assert mean_error(decoded(encoded(LARGE, "JPEG", quality=90), size_px=480).rgb, small) < 1.5


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_are_scaled_after_decoding(kind: str) -> None:
    rgb = gradient(width_px=480, height_px=270)
    frame = decoded(encoded(rgb, kind, lossless=True), size_px=160)
    assert mean_error(frame.rgb, np.asarray(Image.fromarray(rgb).resize((160, 90), Image.Resampling.BOX))) < 1
    assert (frame.source_width_px, frame.source_height_px) == (480, 270)


def test_sixteen_bits_are_rounded_to_eight() -> None:
    levels = np.arange(65536, dtype=">u2").reshape(256, 256)
    rows = b"".join(b"\x00" + row.tobytes() for row in levels)
    data = png(width_px=256, height_px=256, rows=zlib.compress(rows), depth=16, colour=0)
    expected = np.round(np.arange(65536) / 257).reshape(256, 256)
    assert np.array_equal(decoded(data).rgb[..., 1], expected)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparent_pixels_lie_on_white(kind: str, options: dict[str, Any]) -> None:
    rgba = np.dstack([np.full((48, 64, 3), (200, 100, 0), np.uint8), np.full((48, 64), 255, np.uint8)])
    rgba[:, 20:40, 3] = 128
    rgba[:, 40:, 3] = 0
    rgb = decoded(encoded(rgba, kind, mode="RGBA", **options)).rgb
    assert rgb[5, 5].tolist() == [200, 100, 0]
    assert np.abs(rgb[5, 30].astype(int) - (227, 177, 127)).max() <= 1
    assert rgb[5, 50].tolist() == [255, 255, 255]


def test_palette_colours_and_their_transparency_are_read() -> None:
    opaque = decoded(encoded(RGB, "PNG", mode="P")).rgb
    assert mean_error(opaque, np.asarray(Image.fromarray(RGB).convert("P").convert("RGB"))) == 0
    clear = decoded(encoded(RGB, "PNG", mode="P", transparency=bytes(256))).rgb
    assert clear.min() == 255


@pytest.mark.parametrize(("depth", "level"), [(8, 7), (4, 7), (2, 2), (1, 0), (16, 7)])
def test_the_transparent_grey_of_a_png_is_white(depth: int, level: int) -> None:
    per_byte = 8 // min(depth, 8)
    packed = sum(level << (depth * i) for i in range(per_byte)).to_bytes(max(1, depth // 8), "big")
    rows = zlib.compress((b"\x00" + packed * (8 // per_byte)) * 8)
    trns = png_chunk(b"tRNS", level.to_bytes(2, "big"))
    rgb = decoded(png(width_px=8, height_px=8, rows=rows, depth=depth, colour=0, extra=trns)).rgb
    assert rgb.min() == 255
    other = png_chunk(b"tRNS", (level ^ 1).to_bytes(2, "big"))
    assert decoded(png(width_px=8, height_px=8, rows=rows, depth=depth, colour=0, extra=other)).rgb.max() < 255


def test_of_an_animation_the_first_frame_is_taken() -> None:
    assert mean_error(decoded(animated_webp([RGB, RGB[::-1], RGB[:, ::-1]])).rgb, RGB) == 0


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"mode": "CMYK"}),
        ("JPEG", {"mode": "L"}),
        ("PNG", {}),
        ("PNG", {"mode": "RGBA"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80}),
    ],
)
def test_a_cut_picture_is_never_completed(kind: str, options: dict[str, Any], percent: int) -> None:
    data = encoded(LARGE[:270, :480], kind, **options)
    with pytest.raises(UndecodableError):
        decoded(data[: len(data) * percent // 100])


@pytest.mark.parametrize("name", sorted(path.name for path in ASSETS.glob("*.jpg")))
@pytest.mark.parametrize("percent", [50, 90])
def test_a_cut_rare_jpeg_is_never_completed(name: str, percent: int) -> None:
    data = (ASSETS / name).read_bytes()
    with pytest.raises(UndecodableError):
        decoded(data[: len(data) * percent // 100])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_last_byte_missing_is_enough(kind: str) -> None:
    with pytest.raises(UndecodableError):
        decoded(encoded(RGB, kind)[:-1])


def test_nothing_of_the_previous_request_shows_in_a_cut_picture() -> None:
    secret, data = encoded(RGB, "PNG"), encoded(RGB[::-1], "PNG")
    for size in range(60, len(data), 40):
        decoded(secret)
        with pytest.raises(UndecodableError):
            decoded(data[:size])
    assert mean_error(decoded(data).rgb, RGB[::-1]) == 0


@pytest.mark.parametrize("junk", [b"abc\x00", b"\xff\xff", b"\x00" * 500])
def test_junk_between_markers_is_skipped(junk: bytes) -> None:
    data = encoded(RGB, "JPEG", quality=95)
    assert mean_error(decoded(data[:20] + junk + data[20:]).rgb, RGB) < 1.5
    assert mean_error(decoded(data + junk).rgb, RGB) < 1.5


def test_errors_hold_no_internals() -> None:
    data = encoded(RGB, "PNG")
    with pytest.raises(UndecodableError) as caught:
        decoded(data[:200] + b"\x00" * 50 + data[250:])
    assert "cv2" not in caught.value.detail
    assert "/" not in caught.value.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_body_is_read_in_place_and_let_go(kind: str) -> None:
    body = bytearray(encoded(RGB, kind))
    view = memoryview(body)
    assert decoded(view).rgb.shape == (48, 64, 3)
    view.release()
    body.clear()  # BufferError if anything still held the body


def test_decoding_allocates_the_picture_and_no_copy_of_the_body() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    data = memoryview(simplejpeg.encode_jpeg(noise, quality=90, colorsubsampling="444"))
    decoded(data)
    tracemalloc.start()
    try:
        picture_bytes = decoded(data).rgb.nbytes
        peak_bytes = tracemalloc.get_traced_memory()[1]
        copied = bytes(data)
        control_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert picture_bytes == 540 * 960 * 3
    assert 0 <= peak_bytes - picture_bytes < 50_000 < len(copied)
    assert control_bytes >= len(copied)


def test_a_tall_thin_picture_keeps_a_pixel_of_width() -> None:
    data = png(width_px=1, height_px=4000, rows=deflated_zeros(4 * 4000))
    assert probe(data).height_px == 4000
    assert decoded(data).rgb.shape[1] == 1
    assert decoded(encoded(np.zeros((4000, 2, 3), np.uint8), "JPEG"), size_px=64).rgb.shape[1] == 1
