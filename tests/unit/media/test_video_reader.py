import io
import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from app.core.errors import InvalidParameterError, NotFoundError
from app.core.outcome import Dropped, DropReason
from app.core.query import Query
from app.core.video import FrameMode, VideoSpec
from app.media.upright import upright
from tests.unit.media.pictures import gradient, mean_error
from tests.unit.media.videos import (
    FASTSTART,
    FRAGMENTED,
    ULTRAFAST,
    end_of,
    frames,
    kinds,
    levels,
    outcomes,
    reader,
    refs,
    video,
)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("mp4", "libx265"),
        ("mov", "mpeg4"),
        ("matroska", "libx264"),
        ("webm", "libvpx-vp9"),
        ("mpegts", "libx264"),
        ("avi", "mpeg4"),
        ("flv", "libx264"),
        ("mpeg", "mpeg2video"),
        ("h264", "libx264"),
    ],
)
def test_every_frame_of_any_container_comes_in_order_with_its_time(container: str, codec: str) -> None:
    items = outcomes(video(container, codec=codec))
    assert kinds(items) == {"Frame": 12, "End": 1}
    assert end_of(items) is None
    assert levels(items) == list(range(12))
    assert [ref.seq for ref in refs(items)] == list(range(12))
    assert np.allclose([ref.pts_s for ref in refs(items)], np.arange(12) / 25, atol=0.002)


def test_refs_carry_stream_epoch_and_no_capture_time() -> None:
    ref = refs(outcomes(video(), epoch=3))[0]
    assert (ref.stream_id, ref.epoch, ref.seq, ref.captured_at) == ("cam", 3, 0, None)


def test_variable_rate_keeps_true_times() -> None:
    times_ms = (0, 184, 286, 383, 1000)
    items = outcomes(video("matroska", n=5, times_ms=times_ms))
    assert [ref.pts_s for ref in refs(items)] == [0.0, 0.184, 0.286, 0.383, 1.0]


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mpegts", "mpeg2video")])
def test_b_frames_come_in_presentation_order(container: str, codec: str) -> None:
    items = outcomes(video(container, codec=codec, options=(("bf", "2"), ("g", "12"))))
    assert levels(items) == list(range(12))
    assert refs(items)[0].pts_s == 0


@pytest.mark.parametrize("muxer", [(), FASTSTART, FRAGMENTED])
def test_an_mp4_may_have_its_index_anywhere(muxer: tuple[tuple[str, str], ...]) -> None:
    assert kinds(outcomes(video(muxer=muxer))) == {"Frame": 12, "End": 1}


def test_frames_have_the_letterboxes_size_and_the_sources_own_on_demand() -> None:
    data = video(size_px=(640, 360), n=2, options=ULTRAFAST)
    small = frames(outcomes(data, size_px=320))[0]
    assert small.rgb.shape == (180, 320, 3)
    assert (small.source_width_px, small.source_height_px) == (640, 360)
    assert frames(outcomes(data, size_px=320, is_full_size=True))[0].rgb.shape == (360, 640, 3)
    assert frames(outcomes(data, size_px=4000))[0].rgb.shape == (360, 640, 3)
    assert not small.rgb.flags.writeable


def test_region_and_tiles_of_the_query_keep_their_pixels() -> None:
    data = video(size_px=(640, 360), n=1, options=ULTRAFAST)
    query = Query(roi=(0.0, 0.0, 0.5, 0.5))
    frame = frames(outcomes(data, size_px=160, spec=VideoSpec(query=query)))[0]
    assert frame.query is query
    assert frame.rgb.shape[1] == 320


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [((0, 1, -1, 0), 6), ((-1, 0, 0, -1), 3), ((0, -1, 1, 0), 8), ((-1, 0, 0, 1), 2)],
)
def test_a_turned_video_ends_upright(matrix: tuple[int, ...], orientation: int) -> None:
    data = picture_video(gradient())
    identity = b"".join(value.to_bytes(4, "big") for value in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    a, b, c, d = (value * 0x10000 for value in matrix)
    turned = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    at = data.index(identity, data.index(b"tkhd"))
    frame = frames(outcomes(data[:at] + turned + data[at + 36 :]))[0]
    expected = upright(gradient(), orientation)
    assert mean_error(frame.rgb, expected) < 4
    assert (frame.source_height_px, frame.source_width_px) == expected.shape[:2]


def picture_video(rgb: np.ndarray) -> bytes:
    """One picture as an MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], "yuv444p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def test_of_several_video_streams_one_is_taken_as_ffmpeg_ranks_them() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        audio = output.add_stream("pcm_s16le", rate=8000)
        small = output.add_stream("libx264", rate=25)
        small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        large = output.add_stream("libx264", rate=25)
        large.width, large.height, large.pix_fmt = 128, 96, "yuv420p"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.rate = 8000
        output.mux(audio.encode(sound))
        for stream in (small, large):
            for index in range(6):
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts = index
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    items = outcomes(buffer.getvalue())
    assert kinds(items) == {"Frame": 6, "End": 1}
    assert {frame.source_width_px for frame in frames(items)} == {32}


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(5.0, 5), (10.0, 10), (12.5, 13), (25.0, 25), (60.0, 25), (1.0, 1), (0.5, 1)],
)
def test_target_fps_drops_the_rest_with_a_reason(fps: float, expected: int) -> None:
    items = outcomes(video(n=25), spec=VideoSpec(mode=FrameMode.TARGET_FPS, fps=fps))
    assert len(frames(items)) == expected
    assert [ref.seq for ref in refs(items)] == list(range(25))
    assert {item.reason for item in items if isinstance(item, Dropped)} <= {DropReason.SAMPLED}


def test_target_fps_goes_by_time_and_not_by_count() -> None:
    times_ms = (0, 10, 20, 30, 1000, 1010, 2000, 2010)
    spec = VideoSpec(mode=FrameMode.TARGET_FPS, fps=1.0)
    items = outcomes(video("matroska", n=8, times_ms=times_ms), spec=spec)
    assert [frame.ref.pts_s for frame in frames(items)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("fps", [None, 0.0, -1.0, float("nan")])
def test_target_fps_needs_a_rate(fps: float) -> None:
    with pytest.raises(InvalidParameterError):
        reader(video(), spec=VideoSpec(mode=FrameMode.TARGET_FPS, fps=fps))


def test_latest_frame_yields_every_frame() -> None:
    assert kinds(outcomes(video(), spec=VideoSpec(mode=FrameMode.LATEST_FRAME))) == {"Frame": 12, "End": 1}


def test_the_header_tells_length_and_size_for_a_progress_bar(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video(n=25))
    with reader(path) as video_reader:
        info = video_reader.open()
        assert (info.width_px, info.height_px, info.fps, info.n_frames) == (64, 48, 25.0, 25)
        assert info.duration_s == pytest.approx(1.0)
        assert len(list(video_reader)) == 26


def test_a_path_a_name_and_an_open_file_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video())
    with path.open("rb") as file:
        assert kinds(outcomes(path)) == kinds(outcomes(str(path))) == kinds(outcomes(file)) == {"Frame": 12, "End": 1}
        assert not file.closed


def test_a_missing_file_is_said_at_the_end(tmp_path: Path) -> None:
    items = outcomes(tmp_path / "none.mp4")
    assert isinstance(end_of(items), NotFoundError)


def test_closing_early_ends_the_iteration() -> None:
    video_reader = reader(video())
    assert len(list(itertools.islice(video_reader, 3))) == 3
    video_reader.close()
    video_reader.close()
    assert list(video_reader) == []


def test_frames_outlive_the_reader() -> None:
    video_reader = reader(video(n=4))
    kept = frames(list(video_reader))
    video_reader.close()
    assert levels(kept) == [0, 1, 2, 3]
