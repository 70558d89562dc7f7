"""Decoding while the upload runs."""

import threading

import pytest

from app.core.errors import DeadlineError, InvalidRequestError, UndecodableError
from app.core.frame import Frame
from app.media.spool import Spool
from tests.unit.media.videos import FASTSTART, FRAGMENTED, ULTRAFAST, end_of, kinds, outcomes, reader, video

LONG = {"n": 60, "has_noise": True, "size_px": (160, 120), "options": ULTRAFAST}


def spooled(data: bytes, *, stall_s: float = 5.0) -> Spool:
    upload = Spool(max_bytes=100_000_000, stall_s=stall_s)
    upload.write(data)
    return upload


@pytest.mark.parametrize(
    "data",
    [
        video(muxer=FASTSTART, **LONG),
        video(muxer=FRAGMENTED, **LONG),
        video("matroska", **LONG),
        video("mpegts", **LONG),
        video("avi", **LONG | {"codec": "mpeg4", "options": (("b", "9000000"),)}),
    ],
    ids=["faststart", "fragmented", "matroska", "mpegts", "avi"],
)
def test_the_first_frame_comes_long_before_the_upload_ends(data: bytes) -> None:
    upload = spooled(data[: len(data) * 6 // 10])
    video_reader = reader(upload)
    assert isinstance(next(video_reader), Frame)
    upload.write(data[upload.n_bytes :])
    upload.finish()
    assert kinds(list(video_reader)) == {"Frame": 59, "End": 1}


def test_an_index_at_the_end_starts_the_video_when_it_arrives() -> None:
    data = video(**LONG)
    upload = spooled(data)
    video_reader = reader(upload)
    assert isinstance(next(video_reader), Frame)
    upload.finish()
    assert kinds(list(video_reader)) == {"Frame": 59, "End": 1}


@pytest.mark.parametrize("chunk_bytes", [1000, 100_000])
def test_a_threaded_upload_gives_the_same_frames(chunk_bytes: int) -> None:
    data = video("matroska", **LONG)
    upload = Spool(max_bytes=len(data))

    def send() -> None:
        for at in range(0, len(data), chunk_bytes):
            upload.write(data[at : at + chunk_bytes])
        upload.finish()

    thread = threading.Thread(target=send)
    thread.start()
    items = outcomes(upload)
    thread.join(5)
    assert kinds(items) == {"Frame": 60, "End": 1}
    assert end_of(items) is None


@pytest.mark.parametrize("percent", [0, 1, 50])
def test_an_aborted_upload_ends_the_video_promptly(percent: int) -> None:
    data = video(muxer=FASTSTART, **LONG)
    upload = spooled(data[: len(data) * percent // 100])
    results = []
    thread = threading.Thread(target=lambda: results.extend(outcomes(upload)), daemon=True)
    thread.start()
    upload.abort()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(end_of(results), InvalidRequestError)


def test_a_stalled_upload_ends_the_video_with_its_own_error() -> None:
    data = video("matroska", **LONG)
    items = outcomes(spooled(data[: len(data) // 2], stall_s=0.02))
    assert isinstance(end_of(items), DeadlineError)
    assert kinds(items)["Frame"] >= 20


def test_an_upload_finished_too_early_is_undecodable() -> None:
    data = video("matroska", **LONG)
    upload = spooled(data[: len(data) // 2])
    upload.finish()
    assert isinstance(end_of(outcomes(upload)), UndecodableError)


def test_one_readers_failure_does_not_reach_the_next() -> None:
    upload = spooled(b"", stall_s=0.01)
    assert isinstance(end_of(outcomes(upload)), DeadlineError)
    assert end_of(outcomes(video())) is None
