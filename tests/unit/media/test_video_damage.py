"""What a broken, foreign or oversized video ends in."""

import io
import os
import socket
import time
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import (
    InvalidRequestError,
    SightlineError,
    TooLargeError,
    UndecodableError,
    UnsupportedMediaError,
)
from app.media.limits import DecodeLimits
from tests.unit.media.pictures import encoded, gradient
from tests.unit.media.videos import (
    FASTSTART,
    FRAGMENTED,
    ULTRAFAST,
    end_of,
    frames,
    kinds,
    levels,
    outcomes,
    refs,
    video,
)

SMALL = {"options": ULTRAFAST}
NOISY = {"has_noise": True, "options": ULTRAFAST}


@pytest.mark.parametrize("percent", [30, 50, 90, 99])
@pytest.mark.parametrize(
    "data",
    [
        video(muxer=FASTSTART, **NOISY),
        video(muxer=FRAGMENTED, **NOISY),
        video("matroska", **NOISY),
        video("mpegts", **NOISY),
        video("flv", **NOISY),
        video("avi", codec="mpeg4", has_noise=True, options=(("b", "9000000"),)),
        video("webm", codec="libvpx-vp9", has_noise=True),
    ],
    ids=["faststart", "fragmented", "matroska", "mpegts", "flv", "avi", "webm"],
)
def test_a_cut_video_yields_the_frames_before_the_cut_and_then_an_error(data: bytes, percent: int) -> None:
    whole = frames(outcomes(data))
    items = outcomes(data[: len(data) * percent // 100])
    assert isinstance(end_of(items), UndecodableError)
    assert len(items) - 1 == len(frames(items)) >= 12 * percent // 100 - 4
    for frame, expected in zip(frames(items), whole, strict=False):
        assert frame.ref == expected.ref
        assert (frame.rgb == expected.rgb).all()


def test_a_cut_upload_with_its_index_at_the_end_is_undecodable() -> None:
    data = video()
    assert isinstance(end_of(outcomes(data[:-200])), UndecodableError)


def test_a_damaged_frame_fails_in_its_place_and_the_rest_goes_on() -> None:
    data = bytearray(video("mov", codec="png", pix_fmt="rgb24", n=10))
    at = [i for i in range(len(data) - 4) if data[i : i + 4] == b"IHDR"][4]
    data[at : at + 12] = bytes(12)
    items = outcomes(bytes(data))
    assert [type(item).__name__ for item in items] == ["Frame"] * 4 + ["Failed"] + ["Frame"] * 5 + ["End"]
    assert [ref.seq for ref in refs(items)] == list(range(10))
    assert [round(25 * (ref.pts_s or 0)) for ref in refs(items)] == list(range(10))
    assert levels(items) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert end_of(items) is None


def test_lost_packets_of_a_transport_stream_cost_their_frame_only() -> None:
    data = video("mpegts", size_px=(320, 240), has_noise=True, options=(("preset", "ultrafast"), ("g", "1")))
    at = len(data) // 188 // 2 * 188
    items = outcomes(data[:at] + data[at + 188 * 3 :])
    assert kinds(items)["Failed"] in (1, 2)
    assert kinds(items)["Frame"] >= 10
    assert [ref.pts_s for ref in refs(items)] == sorted(ref.pts_s or 0 for ref in refs(items))


def test_a_stream_joined_in_the_middle_starts_at_its_first_whole_frame() -> None:
    data = video("mpegts", n=24, options=(("preset", "ultrafast"), ("g", "12"), ("tune", "zerolatency")))
    items = outcomes(data[188 * 12 :])
    assert levels(items)[0] in (0, 12)
    assert levels(items)[-1] == 23


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidRequestError),
        (b"hello, this is a text\n" * 50, UnsupportedMediaError),
        (b"PK\x03\x04" + bytes(500), UnsupportedMediaError),
        (bytes(5000), UnsupportedMediaError),
        (encoded(gradient(), "JPEG"), UnsupportedMediaError),
        (encoded(gradient(), "PNG"), UnsupportedMediaError),
        (video()[:40], UndecodableError),
        (video()[-700:], UnsupportedMediaError),
        (video("matroska")[:200], UndecodableError),
    ],
    ids=["empty", "text", "zip", "zeros", "jpeg", "png", "mp4_head", "mp4_tail", "matroska_head"],
)
def test_what_is_no_video_ends_in_a_typed_error(data: bytes, error: type[SightlineError]) -> None:
    items = outcomes(data)
    assert kinds(items) == {"End": 1}
    assert type(end_of(items)) is error


@pytest.mark.parametrize("cut", range(0, 320, 40))
def test_an_mp4_cut_before_its_header_names_a_codec_is_a_broken_video(cut: int) -> None:
    data = video()
    assert type(end_of(outcomes(data[: data.index(b"moov") + cut]))) is UndecodableError


def test_sound_alone_is_unsupported() -> None:
    header = b"RIFF" + (36 + 16000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = b"\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
    wave = header + form + b"data" + (16000).to_bytes(4, "little") + bytes(16000)
    assert isinstance(end_of(outcomes(wave)), UnsupportedMediaError)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_frames_over_the_limit_are_refused_before_decoding(container: str) -> None:
    items = outcomes(video(container), limits=DecodeLimits(max_video_pixels=64 * 48 - 1))
    assert kinds(items) == {"End": 1}
    assert isinstance(end_of(items), TooLargeError)
    assert kinds(outcomes(video(container), limits=DecodeLimits(max_video_pixels=64 * 48)))["Frame"] == 12


def test_a_resolution_that_grows_over_the_limit_ends_the_video() -> None:
    data = video("mpegts", n=120, **SMALL) + video("mpegts", size_px=(640, 480), n=6, **SMALL)
    items = outcomes(data, limits=DecodeLimits(max_video_pixels=100_000))
    assert {frame.source_width_px for frame in frames(items)} == {64}
    assert kinds(items)["Frame"] >= 118
    assert isinstance(end_of(items), TooLargeError)


def test_a_resolution_change_within_the_limit_is_followed() -> None:
    data = video("mpegts", n=6, **SMALL) + video("mpegts", size_px=(128, 96), n=6, **SMALL)
    widths_px = [frame.source_width_px for frame in frames(outcomes(data))]
    assert set(widths_px) == {64, 128}
    assert widths_px == sorted(widths_px)


def test_a_bomb_of_8192_squared_costs_nothing() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=25, options=dict(ULTRAFAST))
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        output.mux(stream.encode(None))
    start_s = time.process_time()
    assert isinstance(end_of(outcomes(buffer.getvalue())), TooLargeError)
    assert time.process_time() - start_s < 0.7


TARGET = video("mpegts", **SMALL)
PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n",
    "hls_uri": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://%s\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '%s'\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="urn:mpeg:dash:'
    b'profile:isoff-main:2011" mediaPresentationDuration="PT1S"><Period><AdaptationSet><Representation id="0" '
    b'mimeType="video/mp4" bandwidth="1"><BaseURL>%s</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


SESSION = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)


@pytest.mark.parametrize("name", sorted(PLAYLISTS))
def test_a_playlist_opens_no_file_of_the_server(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target.ts").write_bytes(TARGET)
    monkeypatch.chdir(tmp_path)
    for target in (b"target.ts", os.fsencode(tmp_path / "target.ts")):
        playlist = PLAYLISTS[name] % target
        (tmp_path / "playlist").write_bytes(playlist)
        for source in (playlist, tmp_path / "playlist"):
            items = outcomes(source)
            assert kinds(items) == {"End": 1}
            assert isinstance(end_of(items), UnsupportedMediaError)


def test_ffmpeg_alone_would_open_it(tmp_path: Path) -> None:
    """The control of the test above: the same playlist, without our options."""
    (tmp_path / "target.ts").write_bytes(TARGET)
    (tmp_path / "list.ffconcat").write_bytes(PLAYLISTS["concat"] % b"target.ts")
    with av.open(str(tmp_path / "list.ffconcat")) as container:
        assert len(list(container.decode(video=0))) == 12


@pytest.mark.parametrize("protocol", [b"http", b"tcp", b"rtp", b"https", b"ftp"])
def test_a_playlist_opens_no_socket(protocol: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = b"%s://127.0.0.1:%d/a.ts" % (protocol, server.getsockname()[1])
        for playlist in PLAYLISTS.values():
            assert isinstance(end_of(outcomes(playlist % url)), UnsupportedMediaError)
        assert isinstance(end_of(outcomes(SESSION)), UnsupportedMediaError)
        with pytest.raises(BlockingIOError):
            server.accept()


SEEDS = [
    video(n=4, muxer=FASTSTART, **SMALL),
    video("matroska", n=4, **SMALL),
    video("mpegts", n=4, **SMALL),
    video("avi", codec="mpeg4", n=4),
    video("webm", codec="libvpx-vp9", n=4),
    video("gif", codec="gif", pix_fmt="rgb8", n=3),
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=8),
    st.floats(0.1, 1),
)
def test_whatever_the_bytes_the_video_ends_once_and_counts_its_frames(
    data: bytes, flips: list[tuple[float, int]], cut: float
) -> None:
    damaged = bytearray(data[: int(len(data) * cut)])
    for position, bit in flips:
        damaged[int(position * len(damaged))] ^= 1 << bit
    items = outcomes(bytes(damaged), limits=DecodeLimits(max_video_pixels=1_000_000))
    assert end_of(items) is None or isinstance(end_of(items), SightlineError)
    assert [ref.seq for ref in refs(items)] == list(range(len(items) - 1))
