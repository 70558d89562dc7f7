import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from app.core.query import Query
from app.core.video import FrameMode, VideoSpec
from app.media.pull.messages import Reason
from app.pipeline.pulled_stream import FramesLost, PulledFrame
from app.policy.session import SessionState
from app.policy.source_clock import StampVerdict
from load_tests.camfarm import Camera, Scene, barcode, render
from load_tests.camfarm.http_sources import HttpFaults, HttpSources
from load_tests.camfarm.rtsp_server import RtspFaults, RtspServer
from load_tests.camfarm.video import write_mp4
from tests.sources.pulling import (
    Told,
    check_nothing_is_missing,
    failed,
    frames,
    from_first_frame,
    in_a_thread,
    numbers,
    running,
    street,
)

IDLE, CONNECTING, STREAMING, RECOVERING = SessionState
HOUR_S = 3600.0


def check_pace(told: Told, *, fps: float, within_s: float) -> None:
    """The frames lie as far apart as their numbers say; fewer than a circle of 60 of them."""
    seen = numbers(told.items)[:59]
    pts_s = [frame.pts_s - told.frames[0].pts_s for frame in told.frames[:59]]
    assert pts_s == pytest.approx([(number - seen[0]) % 60 / fps for number in seen], abs=within_s)


def busy_once(told: Told) -> Callable[[object], None]:
    """Holds up the whole event loop for a second, once."""

    def work(_: object) -> None:
        told.on_item = lambda _: None
        time.sleep(1.0)

    return work


def test_rtsp_frames_arrive_whole_in_order_and_with_the_camera_s_times() -> None:
    async def scenario() -> Told:
        async with RtspServer(street()) as server, running(server.url) as (stream, told):
            await told.until(frames(40))
            assert stream.state is STREAMING
        return told

    told = asyncio.run(scenario())
    check_nothing_is_missing(told.items, first=0, cycle=60)
    assert [state for state, _ in told.states] == [CONNECTING, STREAMING, IDLE]
    first = told.frames[0]
    assert (first.rgb.shape, first.source_width_px, first.source_height_px) == ((180, 320, 3), 320, 180)
    assert not first.rgb.flags.writeable
    assert {barcode.decode(frame.rgb)[0] for frame in told.frames} == {3}
    check_pace(told, fps=60, within_s=0.001)
    assert {frame.verdict for frame in told.frames} == {StampVerdict.LEARNING}


def test_the_captured_time_of_rtsp_is_the_camera_s_own_and_not_the_arrival() -> None:
    """The camera says that it took each frame half a second before it sends it."""

    async def scenario() -> tuple[list[float], Told]:
        ages_s = []
        async with RtspServer(street(), RtspFaults(clock_s=-0.5)) as server, running(server.url) as (_, told):
            told.on_item = lambda item: ages_s.append(time.time() - getattr(item, "captured_at", 0.0))
            await told.until(frames(30))
        return ages_s, told

    ages_s, told = asyncio.run(scenario())
    assert min(ages_s) > 0.5
    began_at = [frame.captured_at - frame.pts_s for frame in told.frames]
    assert began_at == pytest.approx([began_at[0]] * len(began_at), abs=0.002)


@pytest.mark.parametrize("faults", [RtspFaults(clock_s=HOUR_S), RtspFaults(has_reports=False)])
def test_a_camera_whose_clock_is_wrong_or_untold_is_dated_by_arrival(faults: RtspFaults) -> None:
    async def scenario() -> list[float]:
        ages_s = []
        async with RtspServer(street(), faults) as server, running(server.url) as (_, told):
            told.on_item = lambda item: ages_s.append(time.time() - getattr(item, "captured_at", time.time()))
            await told.until(frames(20))
        return ages_s

    assert all(-0.1 < age_s < 2 for age_s in asyncio.run(scenario()))


@pytest.mark.parametrize("path", ["/mjpeg", "/live.m3u8", "/vod.m3u8"])
def test_mjpeg_and_hls_frames_arrive_whole_and_in_order(path: str) -> None:
    async def scenario() -> Told:
        async with HttpSources(street()) as server, running(server.url(path)) as (_, told):
            await told.until(frames(25))
        return told

    told = asyncio.run(scenario())
    items = from_first_frame(told.items)
    check_nothing_is_missing(items, first=numbers(items)[0], cycle=60)
    check_pace(told, fps=60, within_s=0.3)


def test_a_recording_behind_a_playlist_is_played_in_real_time_and_ends() -> None:
    async def scenario() -> tuple[Told, float]:
        async with HttpSources(street()) as server, running(server.url("/vod.m3u8")) as (_, told):
            await told.until(frames(1))
            begun_s = time.monotonic()
            await told.until(failed(Reason.ENDED))
            return told, time.monotonic() - begun_s

    told, took_s = asyncio.run(scenario())
    check_nothing_is_missing(told.items, first=0, cycle=60)
    assert len(told.frames) + sum(lost.count or 0 for lost in told.lost) == 60
    assert 0.8 < took_s < 3
    assert told.states[-1] == (IDLE, Reason.ENDED)


@pytest.fixture
def clip_file(tmp_path: Path) -> str:
    camera = Camera(width_px=320, height_px=180, fps=30.0, stream=9)
    write_mp4(tmp_path / "clip.mp4", render(Scene(seed=2), camera, frames=30), fps=30.0)
    return f"file:{tmp_path}/clip.mp4"


@pytest.mark.parametrize(("pace", "least_s", "most_s"), [(True, 0.9, 3.0), (False, 0.0, 0.9)])
def test_a_file_is_read_once_as_a_camera_would_play_it_or_as_fast_as_it_can_be(
    clip_file: str, tmp_path: Path, *, pace: bool, least_s: float, most_s: float
) -> None:
    async def scenario() -> tuple[Told, float]:
        async with running(clip_file, allowed_folders=(str(tmp_path),), pace=pace) as (_, told):
            await told.until(frames(1))
            begun_s = time.monotonic()
            await told.until(failed(Reason.ENDED))
            return told, time.monotonic() - begun_s

    told, took_s = asyncio.run(scenario())
    check_nothing_is_missing(told.items, first=0, cycle=30)
    assert len(told.frames) + sum(lost.count or 0 for lost in told.lost) == 30
    check_pace(told, fps=30, within_s=0.001)
    assert least_s < took_s < most_s
    assert told.states[-1] == (IDLE, Reason.ENDED)


def test_a_file_that_is_no_video_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)

    async def scenario() -> Told:
        async with running(f"file:{tmp_path}/a.mp4", allowed_folders=(str(tmp_path),)) as (_, told):
            await told.until(failed(Reason.UNSUPPORTED))
        return told

    assert asyncio.run(scenario()).states == [(CONNECTING, None), (IDLE, Reason.UNSUPPORTED)]


@pytest.mark.parametrize(("jump_s", "verdict"), [(HOUR_S, StampVerdict.LEAPT_AHEAD), (-HOUR_S, StampVerdict.WENT_BACK)])
def test_stamps_that_jump_an_hour_are_flagged_once_and_move_no_time(jump_s: float, verdict: StampVerdict) -> None:
    async def scenario() -> Told:
        faults = RtspFaults(jumps_at=20, jump_s=jump_s)
        async with RtspServer(street(), faults) as server, running(server.url) as (_, told):
            await told.until(frames(35))
        return told

    told = asyncio.run(scenario())
    assert [frame.verdict for frame in told.frames].count(verdict) == 1
    pts_s = [frame.pts_s for frame in told.frames]
    captured_at = [frame.captured_at for frame in told.frames]
    assert all(0 <= after - before < 1 for before, after in pairwise(pts_s))
    assert all(0 <= after - before < 1 for before, after in pairwise(captured_at))


@pytest.mark.parametrize("scheme", ["rtsp", "mjpeg"])
def test_a_size_and_a_rate_that_change_in_mid_stream_are_followed(scheme: str) -> None:
    other = street(width_px=640, height_px=360, fps=30.0, stream=4)

    async def scenario() -> Told:
        rtsp = RtspServer(street(), RtspFaults(changes_at=20, other=other))
        http = HttpSources(street(), HttpFaults(changes_at=20, other=other))
        async with rtsp, http, running({"rtsp": rtsp.url, "mjpeg": http.url("/mjpeg")}[scheme]) as (_, told):
            await told.until(frames(40))
        return told

    told = asyncio.run(scenario())
    assert [state for state, _ in told.states] == [CONNECTING, STREAMING, IDLE]
    sizes = [(frame.source_width_px, frame.source_height_px) for frame in told.frames]
    streams = [barcode.decode(frame.rgb)[0] for frame in told.frames]
    assert set(zip(streams, sizes, strict=True)) == {(3, (320, 180)), (4, (640, 360))}
    assert {frame.rgb.shape for frame in told.frames} == {(180, 320, 3)}
    check_pace(Told(items=[frame for frame in told.frames if frame.source_width_px == 640]), fps=30, within_s=0.3)


def test_a_consumer_that_is_busy_for_a_second_misses_counted_frames_and_gets_the_newest() -> None:
    async def scenario() -> Told:
        with in_a_thread(RtspServer(street())) as server:
            async with running(server.url) as (_, told):
                await told.until(frames(12))
                told.items.clear()
                told.on_item = busy_once(told)
                await told.until(frames(25))
            return told

    told = asyncio.run(scenario())
    assert sum(lost.count or 0 for lost in told.lost if lost.reason is Reason.SUPERSEDED) >= 40
    check_nothing_is_missing(told.items, first=numbers(told.items)[0], cycle=60)


def test_the_check_for_missing_frames_finds_one_that_was_not_told() -> None:
    async def scenario() -> Told:
        async with RtspServer(street()) as server, running(server.url) as (_, told):
            await told.until(frames(15))
        return told

    told = asyncio.run(scenario())
    items = [item for item in told.items if isinstance(item, PulledFrame | FramesLost)]
    check_nothing_is_missing(items, first=0, cycle=60)
    for planted in (items[:7] + items[8:], [*items[:5], FramesLost(count=1, reason=Reason.HUNG), *items[5:]]):
        with pytest.raises(AssertionError):
            check_nothing_is_missing(planted, first=0, cycle=60)


def test_a_target_rate_leaves_frames_out_in_the_decoder_and_counts_them() -> None:
    async def scenario() -> Told:
        video = VideoSpec(mode=FrameMode.TARGET_FPS, fps=5.0)
        async with RtspServer(street()) as server, running(server.url, video=video) as (_, told):
            await told.until(frames(8))
        return told

    told = asyncio.run(scenario())
    steps_s = [after.pts_s - before.pts_s for before, after in pairwise(told.frames[2:])]
    assert steps_s == pytest.approx([0.2] * len(steps_s), abs=0.02)
    assert {lost.reason for lost in told.lost} >= {Reason.SAMPLED}
    check_nothing_is_missing(told.items, first=0, cycle=60)


def test_a_region_of_interest_keeps_the_pixels_that_the_model_will_see() -> None:
    async def scenario() -> Told:
        clip = street(width_px=640, height_px=360, fps=30.0, stream=4)
        video = VideoSpec(query=Query(roi=(0.0, 0.0, 0.5, 0.5)))
        async with RtspServer(clip) as server, running(server.url, video=video) as (_, told):
            await told.until(frames(1))
        return told

    assert asyncio.run(scenario()).frames[0].rgb.shape == (360, 640, 3)
