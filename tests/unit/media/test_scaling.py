import av
import numpy as np
import pytest

from app.media.sampling import Sampler
from app.media.scaling import Scaler

COLOURS = [(200, 30, 40), (20, 180, 60), (30, 40, 220), (255, 255, 255), (0, 0, 0), (128, 128, 128)]


def yuv_frame(
    rgb: tuple[int, int, int], *, kr: float, kb: float, is_full: bool, size_px: tuple[int, int]
) -> av.VideoFrame:
    """One flat colour, by ITU-R BT.601 / 709 / 2020: luma weights `kr` and `kb`, full or limited range."""
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    limited = [16 + 219 * luma, *(128 + 224 * value for value in chroma)]
    full = [255 * luma, *(128 + 255 * value for value in chroma)]
    frame = av.VideoFrame(*size_px, "yuv420p")
    for plane, value in zip(frame.planes, (limited, full)[is_full], strict=True):
        plane.update(bytes([min(255, round(value))]) * plane.buffer_size)
    frame.color_range = (1, 2)[is_full]
    return frame


def worst_error(frame: av.VideoFrame, rgb: tuple[int, int, int], *, scale: float) -> int:
    shown, _, _ = Scaler().rgb(frame, scale_for=lambda _w, _h: scale)
    return int(np.abs(shown.astype(int) - rgb).max())


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("code", "kr", "kb"),
    [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (6, 0.299, 0.114), (7, 0.212, 0.087), (9, 0.2627, 0.0593)],
)
def test_the_streams_own_matrix_and_range_are_used(
    code: int, kr: float, kb: float, *, is_full: bool, scale: float
) -> None:
    for rgb in COLOURS:
        frame = yuv_frame(rgb, kr=kr, kb=kb, is_full=is_full, size_px=(64, 48))
        frame.colorspace = code
        assert worst_error(frame, rgb, scale=scale) <= 4


@pytest.mark.parametrize(("size_px", "kr", "kb"), [((64, 48), 0.299, 0.114), ((1280, 720), 0.2126, 0.0722)])
def test_without_a_matrix_hd_is_709_and_the_rest_601(size_px: int, kr: float, kb: float) -> None:
    for rgb in COLOURS:
        frame = yuv_frame(rgb, kr=kr, kb=kb, is_full=False, size_px=size_px)
        assert worst_error(frame, rgb, scale=1.0) <= 4


@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_rows_do_not_run_into_their_padding(scale: float) -> None:
    ramp = np.broadcast_to(np.arange(90, dtype=np.uint8)[None, :, None] * 2, (50, 90, 3))
    shown, width_px, height_px = Scaler().rgb(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(ramp), "rgb24"), scale_for=lambda _w, _h: scale
    )
    assert (width_px, height_px) == (90, 50)
    assert shown.shape == (round(50 * scale), round(90 * scale), 3)
    assert (np.diff(shown[:, :, 0].astype(int), axis=1) >= 0).all()
    assert (shown == shown[:1]).all()


@pytest.mark.parametrize(
    ("source_fps", "target_fps"), [(30.0, 15.0), (29.97, 10.0), (25.0, 10.0), (60.0, 7.0), (30.0, 1.0)]
)
def test_a_minute_of_jittering_frames_gives_the_rate_asked_for(source_fps: float, target_fps: float) -> None:
    sampler = Sampler(fps=target_fps)
    rng = np.random.default_rng(0)
    times_s = np.round(np.arange(int(60 * source_fps)) / source_fps + rng.uniform(-0.002, 0.002), 3)
    due_s = [time_s for time_s in times_s if sampler.is_due(float(time_s))]
    assert abs(len(due_s) - 60 * target_fps) <= 1
    assert np.diff(due_s).max() <= 1 / target_fps + 1 / source_fps + 0.005


def test_a_jump_of_the_clock_goes_on_from_the_new_time() -> None:
    sampler = Sampler(fps=1.0)
    assert [sampler.is_due(time_s) for time_s in (0.0, 0.5, 1.0, 100.0, 100.4, 3.0, 3.2, 4.0)] == [
        *(True, False, True, True, False, True, False, True)
    ]
