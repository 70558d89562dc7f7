import numpy as np
import pytest

from app.core.errors import InvalidParameterError, TooLargeError
from app.core.frame import EncodedFrame
from app.core.query import Query
from app.media.limits import DecodeLimits
from app.media.raw import rgb_view
from app.media.still import decode_still
from tests.builders import make_ref, make_rgb
from tests.unit.media.pictures import gradient

RGB = gradient()


@pytest.mark.parametrize("data", [RGB.tobytes(), memoryview(RGB.tobytes()), memoryview(bytearray(RGB.tobytes()))])
def test_the_picture_is_the_memory_of_the_body(data: bytes | memoryview) -> None:
    rgb = rgb_view(data, (64, 48))
    np.testing.assert_array_equal(rgb, RGB)
    assert np.shares_memory(rgb, np.frombuffer(data, np.uint8))
    assert rgb.ctypes.data == np.frombuffer(data, np.uint8).ctypes.data
    assert not rgb.flags.writeable
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize("size_px", [(64, 47), (64, 49), (63, 48), (0, 0), (0, 48), (-64, -48), (1 << 40, 1 << 40)])
def test_a_length_that_is_not_the_sizes_is_refused(size_px: tuple[int, int]) -> None:
    with pytest.raises(InvalidParameterError):
        rgb_view(RGB.tobytes(), size_px)


def test_raw_pixels_are_a_frame_without_a_copy_and_without_scaling() -> None:
    data = RGB.tobytes()
    encoded = EncodedFrame(data=data, ref=make_ref(seq=3), query=Query(conf=0.5), raw_size_px=(64, 48))
    frame = decode_still(encoded, model_width_px=8, model_height_px=8)
    assert np.shares_memory(frame.rgb, np.frombuffer(data, np.uint8))
    assert frame.rgb.shape == (48, 64, 3)
    assert (frame.source_width_px, frame.source_height_px) == (64, 48)
    assert (frame.ref, frame.query) == (encoded.ref, encoded.query)


def test_bytes_that_look_like_a_jpeg_are_pixels_when_declared_so() -> None:
    data = b"\xff\xd8\xff" * 4
    frame = decode_still(
        EncodedFrame(data=data, ref=make_ref(), raw_size_px=(2, 2)), model_width_px=8, model_height_px=8
    )
    assert frame.rgb.tolist() == [[[255, 216, 255]] * 2] * 2


def test_the_limit_of_pixels_holds_for_raw_ones_too() -> None:
    encoded = EncodedFrame(data=make_rgb(width_px=20, height_px=10).tobytes(), ref=make_ref(), raw_size_px=(20, 10))
    with pytest.raises(TooLargeError):
        decode_still(encoded, model_width_px=8, model_height_px=8, limits=DecodeLimits(max_pixels=199))
