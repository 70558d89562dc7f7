"""The pixel barcode survives what happens to frames on their way, and a damaged one is never read as another."""

import io
from collections.abc import Iterator

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from load_tests.camfarm import BarcodeError, Camera, Scene, barcode, encode_jpeg, render
from load_tests.camfarm.video import write_mp4

Pixels = npt.NDArray[np.uint8]
LARGEST = 2**32 - 1


def make_rgb(*, width_px: int = 640, height_px: int = 360, stream: int = 5, seq: int = 9, seed: int = 0) -> Pixels:
    """A frame of noise with a barcode."""
    rgb = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    barcode.encode(rgb, stream=stream, seq=seq)
    return rgb


def through_jpeg(rgb: Pixels, *, quality: int) -> Pixels:
    """The frame after a real JPEG, BGR: the code is grey."""
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(rgb, quality=quality), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def decoded_video(data: bytes) -> Iterator[Pixels]:
    """The frames of an MP4 in memory."""
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


@pytest.mark.parametrize(
    ("stream", "seq"), [(0, 0), (1, 2), (LARGEST, LARGEST), (0xAAAAAAAA, 0x55555555), (7, 123_456)]
)
def test_code_is_read_back(stream: int, seq: int) -> None:
    assert barcode.decode(make_rgb(stream=stream, seq=seq)) == (stream, seq)


@pytest.mark.parametrize("size_px", [(320, 180), (416, 416), (640, 360), (854, 480), (1920, 1080), (3840, 2160)])
def test_code_survives_jpeg_at_quality_60_at_any_size(size_px: tuple[int, int]) -> None:
    rgb = np.full((size_px[1], size_px[0], 3), 110, np.uint8)
    barcode.encode(rgb, stream=77, seq=4_000_000_000)
    assert barcode.decode(through_jpeg(rgb, quality=60)) == (77, 4_000_000_000)


@pytest.mark.parametrize("interpolation", [cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST])
def test_code_survives_jpeg_and_scaling_to_half(interpolation: int) -> None:
    for seq in range(12):
        half = cv2.resize(
            through_jpeg(make_rgb(seq=seq, seed=seq), quality=60), (320, 180), interpolation=interpolation
        )
        assert barcode.decode(np.asarray(half, np.uint8)) == (5, seq)


def test_code_survives_jpeg_decoded_at_half_size() -> None:
    data = np.frombuffer(encode_jpeg(make_rgb(seq=31), quality=60), np.uint8)
    half = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_2)
    assert half is not None
    assert barcode.decode(np.asarray(half, np.uint8)) == (5, 31)


@pytest.mark.parametrize(("crf", "preset"), [(23, "veryfast"), (32, "ultrafast")])
def test_code_survives_h264_and_scaling_to_half(
    tmp_path_factory: pytest.TempPathFactory, crf: int, preset: str
) -> None:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    shots = render(Scene(seed=3), Camera(width_px=640, height_px=360, fps=25.0, stream=900), frames=6, first_seq=65_530)
    assert write_mp4(path, shots, 25.0, crf=crf, preset=preset) == 6
    frames = list(decoded_video(path.read_bytes()))
    halves = [np.asarray(cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]
    wanted = [(900, 65_530 + at) for at in range(6)]
    assert [barcode.decode(frame) for frame in frames] == wanted
    assert [barcode.decode(half) for half in halves] == wanted


def test_every_flipped_cell_is_caught_by_the_checksum() -> None:
    cell = 640 // 80
    for row in range(4):
        for column in range(24):
            rgb = make_rgb()
            window = rgb[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            window[:] = 255 - window
            with pytest.raises(BarcodeError, match="checksum"):
                barcode.decode(rgb)


def test_frame_without_a_code_is_refused() -> None:
    with pytest.raises(BarcodeError, match="no barcode"):
        barcode.decode(np.full((360, 640, 3), 90, np.uint8))
    with pytest.raises(BarcodeError, match="too small"):
        barcode.decode(np.zeros((2, 640, 3), np.uint8))
    with pytest.raises(BarcodeError):
        barcode.decode(np.random.default_rng(1).integers(0, 256, (360, 640, 3), dtype=np.uint8))


def test_code_is_not_drawn_where_it_has_no_room() -> None:
    with pytest.raises(ValueError, match="no room"):
        barcode.encode(np.zeros((90, 120, 3), np.uint8), stream=0, seq=0)


def test_grey_frames_are_read_too() -> None:
    assert barcode.decode(np.ascontiguousarray(make_rgb()[:, :, 1])) == (5, 9)
