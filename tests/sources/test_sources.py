"""The servers read by FFmpeg alone, none of our own client in between."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import av
import pytest
from av.error import FFmpegError

from load_tests.camfarm import Camera, Scene, barcode
from load_tests.camfarm.clip import Clip, make_clip, nal_units
from load_tests.camfarm.http_sources import HttpSources
from load_tests.camfarm.rtp import RtpSender
from load_tests.camfarm.rtsp_server import RtspFaults, RtspServer


@pytest.fixture(scope="module")
def clip() -> Clip:
    camera = Camera(width_px=320, height_px=180, fps=60.0, stream=6)
    return make_clip(Scene(seed=4), camera, frames=60, group=30)


def codes(url: str, *, frames: int, **options: str) -> tuple[list[tuple[int, int]], int | None]:
    """The barcodes of the first frames, and the wall clock of the stream's start in microseconds."""
    with av.open(url, options=options, timeout=(10, 10)) as container:
        found = []
        for picture in container.decode(video=0):
            found.append(barcode.decode(picture.to_ndarray(format="rgb24")))
            if len(found) == frames:
                break
        return found, container.start_time_realtime


def read(server: Any, path: Callable[[Any], str], *, frames: int, **options: str) -> Any:
    async def scenario() -> Any:
        async with server:
            return await asyncio.to_thread(codes, path(server), frames=frames, **options)

    return asyncio.run(scenario())


def test_a_clip_holds_each_picture_once_and_its_groups_begin_with_parameter_sets(clip: Clip) -> None:
    assert len(clip) == len(clip.jpegs) == 60
    kinds = [[unit[0] & 0x1F for unit in nal_units(access_unit)] for access_unit in clip.units]
    assert [index for index, kind in enumerate(kinds) if {5, 7, 8} <= set(kind)] == [0, 30]


def test_rtsp_plays_the_clip_in_a_circle_and_says_what_time_it_is(clip: Clip) -> None:
    found, started_us = read(RtspServer(clip), lambda server: server.url, frames=70, rtsp_transport="tcp")
    assert found == [(6, number % 60) for number in range(70)]
    assert started_us is not None
    assert started_us / 1e6 == pytest.approx(time.time(), abs=30)


def test_rtsp_numbers_wrap_within_the_first_frames(clip: Clip) -> None:
    sender = RtpSender(ssrc=1)
    packets = [packet for unit in clip.units for packet in sender.packets(list(nal_units(unit)), stamp=0)]
    numbers = [int.from_bytes(packet[2:4], "big") for packet in packets]
    assert numbers == [(65_500 + index) % 65_536 for index in range(len(packets))]
    assert len(packets) > 36


@pytest.mark.parametrize("path", ["/mjpeg", "/vod.m3u8"])
def test_http_plays_the_clip(clip: Clip, path: str) -> None:
    found, _ = read(HttpSources(clip), lambda server: server.url(path), frames=40)
    assert found == [(6, number) for number in range(40)]


def test_a_live_playlist_goes_on_from_segment_to_segment(clip: Clip) -> None:
    found, _ = read(HttpSources(clip), lambda server: server.url("/live.m3u8"), frames=150)
    first = found[0][1]
    assert found == [(6, (first + number) % 60) for number in range(150)]


def test_who_has_no_login_sees_nothing(clip: Clip) -> None:
    with pytest.raises(FFmpegError):
        read(RtspServer(clip, login=("u", "p")), lambda server: server.url, frames=1, rtsp_transport="tcp")
    with pytest.raises(FFmpegError):
        read(HttpSources(clip, login=("u", "p")), lambda server: server.url("/mjpeg"), frames=1)


def test_a_camera_that_hangs_up_has_sent_as_many_frames_as_it_was_told_to(clip: Clip) -> None:
    server = RtspServer(clip, RtspFaults(closes_at=9))
    found, _ = read(server, lambda server: server.url, frames=100, rtsp_transport="tcp")
    assert (len(found), server.sent, server.accepted) == (9, 9, 1)
