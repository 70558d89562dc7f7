import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.core.errors import TooLargeError, UndecodableError, UnsupportedMediaError
from app.core.frame import EncodedFrame, Pixels
from app.media.limits import DecodeLimits
from app.media.preview import preview_jpeg
from tests.builders import make_encoded, make_ref
from tests.unit.media.pictures import ASSETS, encoded, exif, gradient

GOLDEN = (ASSETS / "preview" / "source.jpg").read_bytes()
LEAST_DB = 32
"""33 to 39 dB are what JPEG at quality 85 alone leaves of the reference; the preview is within half a dB of that."""


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def reference(data: bytes, *, max_side_px: int = 512) -> Pixels:
    """What Pillow makes of it: the whole picture decoded, turned upright, one pass of its own, widening Lanczos."""
    whole = ImageOps.exif_transpose(opened(data)).convert("RGB")
    scale = min(max_side_px / max(whole.size), 1)
    size = (max(round(whole.width * scale), 1), max(round(whole.height * scale), 1))
    return np.asarray(whole.resize(size, Image.Resampling.LANCZOS))


def psnr_db(rgb: Pixels, expected: Pixels) -> float:
    assert rgb.shape == expected.shape
    return float(10 * np.log10(255**2 / np.mean((rgb.astype(float) - expected) ** 2)))


@pytest.mark.parametrize("max_side_px", [512, 320, 700])
def test_the_golden_picture_is_what_an_independent_reference_makes_of_it(max_side_px: int) -> None:
    preview = opened(preview_jpeg(make_encoded(GOLDEN), max_side_px=max_side_px))
    assert (preview.format, preview.mode) == ("JPEG", "RGB")
    expected = reference(GOLDEN, max_side_px=max_side_px)
    assert psnr_db(np.asarray(preview), expected) > LEAST_DB
    # The bound tells pictures apart: one pixel of shift, or red and blue exchanged, falls below it.
    assert psnr_db(np.asarray(preview), expected[..., ::-1]) < LEAST_DB
    assert psnr_db(np.asarray(preview), np.roll(expected, 1, axis=1)) < LEAST_DB


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_ends_upright(kind: str, orientation: int) -> None:
    source = gradient(width_px=96, height_px=64)
    data = encoded(source, kind, exif=exif(orientation))
    preview = opened(preview_jpeg(make_encoded(data), max_side_px=48))
    assert psnr_db(np.asarray(preview), reference(data, max_side_px=48)) > 30
    assert not preview.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1001, 333), (333, 1001), (1000, 751), (2000, 3), (97, 1211)])
def test_the_size_follows_from_the_sources_own_aspect(kind: str, size: tuple[int, int]) -> None:
    data = encoded(gradient(width_px=size[0], height_px=size[1]), kind)
    preview = opened(preview_jpeg(make_encoded(data), max_side_px=100))
    scale = 100 / max(size)
    assert preview.size == (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))


def test_a_small_picture_is_not_enlarged() -> None:
    assert opened(preview_jpeg(make_encoded(encoded(gradient(), "PNG")))).size == (64, 48)


def test_a_better_quality_is_larger_and_closer() -> None:
    low, high = (preview_jpeg(make_encoded(GOLDEN), quality=quality) for quality in (20, 95))
    expected = reference(GOLDEN)
    assert len(low) < len(high)
    assert psnr_db(np.asarray(opened(low)), expected) < psnr_db(np.asarray(opened(high)), expected)


def test_transparency_lies_on_white_and_grey_stays_grey() -> None:
    clear = np.zeros((40, 40, 4), np.uint8)
    assert np.asarray(opened(preview_jpeg(make_encoded(encoded(clear, "PNG", mode="RGBA"))))).min() > 250
    grey = np.asarray(opened(preview_jpeg(make_encoded(encoded(gradient(), "PNG", mode="L"))))).astype(int)
    assert np.abs(grey[..., 0] - grey[..., 2]).max() <= 2


def test_raw_pixels_have_a_preview_too() -> None:
    rgb = gradient(width_px=200, height_px=100)
    raw = EncodedFrame(data=rgb.tobytes(), ref=make_ref(), raw_size_px=(200, 100))
    assert opened(preview_jpeg(raw, max_side_px=50)).size == (50, 25)


def test_what_is_no_picture_is_refused_as_everywhere() -> None:
    with pytest.raises(UnsupportedMediaError):
        preview_jpeg(make_encoded(b"GIF89a and more of it"))
    with pytest.raises(UndecodableError):
        preview_jpeg(make_encoded(GOLDEN[: len(GOLDEN) // 2]))
    with pytest.raises(TooLargeError):
        preview_jpeg(make_encoded(GOLDEN), limits=DecodeLimits(max_pixels=1000))
