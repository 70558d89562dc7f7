"""Bad uploads to `/v1/videos`: a status in time, or the frames before the damage and a summary with its reason."""

import io
import random
import socket
from functools import cache
from pathlib import Path

import av
import pytest

from load_tests.service import Service
from tests.e2e.wire import MP4, VIDEOS, WITHIN_S, Answer, Connection, ask, assert_problem, chunked, request
from tests.unit.media.pictures import encoded, gradient
from tests.unit.media.test_video_damage import PLAYLISTS, SESSION
from tests.unit.media.videos import FASTSTART, FRAGMENTED, ULTRAFAST, video

NOISY = {"n": 30, "has_noise": True, "size_px": (160, 120), "options": ULTRAFAST}
LONG = NOISY | {"n": 100}


def upload(service: Service, body: bytes, *, query: str = "", kind: str = MP4) -> Answer:
    return ask(service, VIDEOS + query, body, kind=kind)


def assert_balanced(answer: Answer) -> None:
    """A line per captured frame in order, each in one bucket of the summary."""
    assert answer.status == 200
    *frames, summary = answer.lines
    assert [frame["seq"] for frame in frames] == list(range(summary["captured"]))
    assert sum(frame["status"] == "result" for frame in frames) == summary["answered"]
    ends = summary["answered"] + sum(summary["dropped"].values()) + sum(summary["errors"].values())
    assert (ends, summary["in_flight"]) == (summary["captured"], 0)


@cache
def sound() -> bytes:
    """An MP4 with sound and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 8000
        frame.planes[0].update(bytes(4096))
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@cache
def frameless() -> bytes:
    """An MP4 that declares a video stream and holds no frame of it."""
    whole = video(muxer=FRAGMENTED)
    return whole[: whole.index(b"moof") - 4]


@cache
def bomb() -> bytes:
    """A few kilobytes that unpack to 8192 x 8192, at three sizes of a picture in memory per frame."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=25, options=dict(ULTRAFAST))
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"hello, this is a text\n" * 50, 415, "unsupported_media"),
        (bytes(5000), 415, "unsupported_media"),
        (encoded(gradient(), "JPEG"), 415, "unsupported_media"),
        (video()[:40], 422, "undecodable"),
        (video()[: video().index(b"moov") - 4], 422, "undecodable"),
        (video()[: video().index(b"moov") + 60], 422, "undecodable"),
        (sound(), 415, "unsupported_media"),
        (frameless(), 422, "undecodable"),
        (SESSION, 415, "unsupported_media"),
    ],
    ids=["empty", "text", "zeros", "jpeg", "head", "no_moov", "cut_moov", "sound", "no_frame", "sdp"],
)
def test_a_video_without_a_frame_gets_a_status(steady: Service, body: bytes, status: int, code: str) -> None:
    assert_problem(upload(steady, body), status, code)


def test_frames_of_8192_squared_are_too_large(steady: Service) -> None:
    assert_problem(upload(steady, bomb()), 413, "too_large")


@pytest.mark.parametrize("kind", ["image/jpeg", "text/html", "application/json", "multipart/form-data; boundary=b"])
def test_a_body_declared_as_no_video_is_unsupported(steady: Service, kind: str) -> None:
    assert_problem(upload(steady, video(), kind=kind), 415, "unsupported_media")


@pytest.mark.parametrize(
    "query", ["?conf=nan", "?iou=-1", "?mode=target_fps&fps=nan", "?mode=target_fps&fps=-5", "?fps=5", "?roi=0,0,nan,1"]
)
def test_a_wrong_parameter_is_refused(steady: Service, query: str) -> None:
    assert_problem(upload(steady, video(), query=query), 422, "invalid_parameter")


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize(
    "data",
    [video(muxer=FASTSTART, **NOISY), video(muxer=FRAGMENTED, **NOISY), video("matroska", **NOISY)],
    ids=["faststart", "fragmented", "matroska"],
)
def test_a_cut_video_yields_the_frames_before_the_cut_and_the_reason(
    steady: Service, data: bytes, percent: int
) -> None:
    answer = upload(steady, data[: len(data) * percent // 100])
    assert_balanced(answer)
    *frames, summary = answer.lines
    assert 30 * percent // 100 - 7 <= len(frames) <= 30
    assert {frame["status"] for frame in frames} == {"result"}
    assert summary["reason"] == "undecodable"
    assert answer.after_s < WITHIN_S


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_cost_their_frames_and_every_frame_is_accounted_for(steady: Service, seed: int) -> None:
    whole = video("mpegts", **NOISY)
    damaged, chance = bytearray(whole), random.Random(seed)
    for _ in range(8):
        damaged[chance.randrange(len(whole) // 10, len(whole))] ^= 1 << chance.randrange(8)
    answer = upload(steady, bytes(damaged), kind="video/mp2t")
    assert_balanced(answer)
    assert answer.lines[-1]["answered"] >= 5
    assert answer.after_s < WITHIN_S


def test_a_file_that_the_upload_names_is_not_opened(steady: Service, tmp_path: Path) -> None:
    (tmp_path / "target.ts").write_bytes(video("mpegts"))
    for name in PLAYLISTS:
        playlist = PLAYLISTS[name] % bytes(tmp_path / "target.ts")
        for kind in (MP4, "application/vnd.apple.mpegurl"):
            assert_problem(upload(steady, playlist, kind=kind), 415, "unsupported_media")


def test_an_address_that_the_upload_names_is_not_called(steady: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        for protocol in (b"http", b"tcp", b"https", b"ftp"):
            url = b"%s://127.0.0.1:%d/a.ts" % (protocol, server.getsockname()[1])
            for playlist in PLAYLISTS.values():
                assert_problem(upload(steady, playlist % url), 415, "unsupported_media")
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_results_come_while_the_upload_still_runs(same: Service, container: str) -> None:
    data = video(container, **LONG, muxer=FASTSTART * (container == "mp4"))
    half = len(data) // 2
    with Connection(same) as connection:
        results = connection.send(request(VIDEOS, data[:half], kind=MP4, n_bytes=len(data))).lines()
        early = [next(results) for _ in range(5)]
        connection.send(data[half:])
        *frames, summary = [*early, *results]
    assert [frame["seq"] for frame in frames] == list(range(100))
    assert summary["answered"] == 100


def test_every_byte_of_a_long_upload_reaches_the_decoder_while_results_go_out(same: Service) -> None:
    """Several megabytes in many pieces: whoever waits for the client to leave must not receive a piece of the body."""
    data = video("matroska", **LONG | {"size_px": (320, 240)})
    assert len(data) > 4_000_000
    with Connection(same) as connection:
        results = connection.send(request(VIDEOS, data[:1_500_000], kind=MP4, n_bytes=len(data))).lines()
        early = [next(results)]
        connection.send(data[1_500_000:])
        *frames, summary = [*early, *results]
    assert [frame["seq"] for frame in frames] == list(range(100))
    assert "reason" not in summary


def test_an_upload_without_a_length_is_taken_in_chunks(steady: Service) -> None:
    data = video("matroska", **NOISY)
    pieces = [data[at : at + 10_000] for at in range(0, len(data), 10_000)]
    with Connection(steady) as connection:
        answer = connection.send(chunked(VIDEOS, pieces, kind=MP4)).answer()
    assert_balanced(answer)
    assert answer.lines[-1]["answered"] == 30


def test_a_connection_goes_on_after_each_error(steady: Service) -> None:
    with Connection(steady) as connection:
        for bad, code in [
            (request(VIDEOS, b"", kind=MP4), "invalid_request"),
            (request(VIDEOS, b"text" * 99, kind=MP4), "unsupported_media"),
            (request(VIDEOS, sound(), kind=MP4), "unsupported_media"),
            (request(VIDEOS, video(), kind="image/png"), "unsupported_media"),
            (request(f"{VIDEOS}?fps=-1", video(), kind=MP4), "invalid_parameter"),
        ]:
            answer = connection.send(bad).answer()
            assert_problem(answer, answer.status, code)
            assert_balanced(connection.send(request(VIDEOS, video(), kind=MP4)).answer())
