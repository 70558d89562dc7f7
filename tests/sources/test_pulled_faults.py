import asyncio
import gc
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.media.limits import DecodeLimits
from app.media.pull.messages import Reason
from app.policy.reconnect import POLICIES, Backoff
from app.policy.session import SessionState
from load_tests.camfarm import barcode
from load_tests.camfarm.http_sources import HttpFaults, HttpSources
from load_tests.camfarm.rtsp_server import RtspFaults, RtspServer
from tests.sources.pulling import FAST, Told, check_nothing_is_missing, failed, frames, running, street

IDLE, CONNECTING, STREAMING, RECOVERING = SessionState


@pytest.mark.parametrize("scheme", ["rtsp", "mjpeg"])
def test_a_source_that_freezes_is_given_up_and_found_again(scheme: str) -> None:
    async def scenario() -> Told:
        rtsp = RtspServer(street(), RtspFaults(freezes_at=10))
        http = HttpSources(street(), HttpFaults(freezes_at=10))
        async with (
            rtsp,
            http,
            running({"rtsp": rtsp.url, "mjpeg": http.url("/mjpeg")}[scheme], stall_s=1.0) as (_, told),
        ):
            await told.until(failed(Reason.STALLED))
            rtsp.faults, http.faults = RtspFaults(), HttpFaults()
            await told.until(lambda told: told.states[-1][0] is STREAMING and len(told.after(STREAMING)) > 20)
        return told

    told = asyncio.run(scenario())
    assert told.states[:4] == [(CONNECTING, None), (STREAMING, None), (RECOVERING, Reason.STALLED), (STREAMING, None)]
    assert all(lost.reason in (Reason.SUPERSEDED, Reason.UNDECODABLE) for lost in told.lost)


def test_a_ruined_parameter_set_in_mid_stream_is_passed_over() -> None:
    async def scenario() -> Told:
        async with RtspServer(street(), RtspFaults(garbage_at=15)) as server, running(server.url) as (_, told):
            await told.until(frames(80))
        return told

    check_nothing_is_missing(asyncio.run(scenario()).items, first=0, cycle=60)


def test_noise_in_mid_stream_loses_counted_frames_and_then_the_connection() -> None:
    async def scenario() -> Told:
        faults = RtspFaults(noise_at=15)
        async with RtspServer(street(), faults) as server, running(server.url, stall_s=1.0) as (_, told):
            await told.until(failed(Reason.STALLED))
            server.faults = RtspFaults()
            await told.until(lambda told: told.states[-1][0] is STREAMING and len(told.after(STREAMING)) > 20)
        return told

    told = asyncio.run(scenario())
    assert sum(lost.count or 0 for lost in told.lost if lost.reason is Reason.UNDECODABLE) >= 30


@pytest.mark.parametrize("faults", [RtspFaults(garbage_at=0), RtspFaults(codec="H265")], ids=["garbage", "wrong codec"])
def test_a_camera_that_sends_what_it_does_not_announce_is_recovered_when_it_is_put_right(faults: RtspFaults) -> None:
    async def scenario() -> Told:
        async with RtspServer(street(), faults) as server:
            async with running(server.url, stall_s=1.0, connect_s=1.0) as (_, told):
                await told.until(lambda told: told.states[-1][1] is not None)
                assert told.frames == []
                server.faults = RtspFaults()
                await told.until(frames(20))
            return told

    assert STREAMING in [state for state, _ in asyncio.run(scenario()).states]


def test_a_camera_that_hangs_up_again_and_again_is_called_again_and_again() -> None:
    async def scenario() -> Told:
        async with RtspServer(street(), RtspFaults(closes_at=20)) as server, running(server.url) as (_, told):
            await told.until(failed(Reason.CLOSED, times=3), within_s=30)
        return told

    told = asyncio.run(scenario())
    assert told.states[1:7] == [(STREAMING, None), (RECOVERING, Reason.CLOSED)] * 3
    pts_s = [frame.pts_s for frame in told.frames]
    assert pts_s == sorted(pts_s)


def test_the_server_policy_waits_as_long_as_the_sdp_says() -> None:
    async def scenario() -> float:
        faults = RtspFaults(closes_at=3, announced_s=1.5)
        policy = POLICIES[Backoff.SERVER]
        async with RtspServer(street(), faults) as server, running(server.url, policy=policy) as (_, told):
            await told.until(failed(Reason.CLOSED))
            begun_s = time.monotonic()
            await told.until(failed(Reason.CLOSED, times=2))
            return time.monotonic() - begun_s

    assert 1.5 < asyncio.run(scenario()) < 3


def test_a_policy_with_a_bound_gives_up() -> None:
    async def scenario() -> Told:
        policy = replace(FAST, max_attempts=2)
        async with (
            RtspServer(street(), RtspFaults(closes_at=3)) as server,
            running(server.url, policy=policy) as (
                stream,
                told,
            ),
        ):
            await told.until(lambda told: told.states[-1][0] is IDLE)
            assert stream.pid is None
        return told

    told = asyncio.run(scenario())
    assert told.states[-1] == (IDLE, Reason.CLOSED)
    assert [reason for _, reason in told.states].count(Reason.CLOSED) == 3


def test_fast_says_that_the_numbers_start_anew_and_exponential_that_they_go_on() -> None:
    async def scenario(backoff: Backoff) -> list[bool]:
        async with RtspServer(street()) as server, running(server.url, policy=POLICIES[backoff]) as (_, told):
            await told.until(frames(1))
        return [item.resets_sequence for item in told.items if getattr(item, "state", None) is STREAMING]

    assert asyncio.run(scenario(Backoff.FAST)) == [True]
    assert asyncio.run(scenario(Backoff.EXPONENTIAL)) == [False]


@pytest.mark.parametrize(("signal_number", "reason"), [(signal.SIGKILL, Reason.CRASHED), (signal.SIGSTOP, Reason.HUNG)])
def test_a_killed_or_stopped_decoder_is_told_replaced_and_troubles_nobody_else(
    signal_number: signal.Signals, reason: Reason
) -> None:
    async def scenario() -> tuple[Told, Told]:
        server, other = RtspServer(street()), RtspServer(street(stream=8))
        async with server, other, running(server.url, stall_s=4.0) as (stream, told):
            async with running(other.url, stall_s=4.0) as (_, untouched):
                await told.until(frames(20))
                await untouched.until(frames(20))
                assert stream.pid is not None
                os.kill(stream.pid, signal_number)
                await told.until(lambda told: told.states[-1] == (STREAMING, None) and len(told.states) > 2)
                await told.until(lambda told: len(told.after(STREAMING)) > 20)
            return told, untouched

    told, untouched = asyncio.run(scenario())
    assert told.states[:4] == [(CONNECTING, None), (STREAMING, None), (RECOVERING, reason), (STREAMING, None)]
    assert [lost.reason for lost in told.lost].count(reason) == 1
    assert [state for state, _ in untouched.states] == [CONNECTING, STREAMING, IDLE]
    check_nothing_is_missing(untouched.items, first=0, cycle=60)


def test_a_decoder_that_dies_again_and_again_ends_the_stream() -> None:
    async def scenario() -> Told:
        async with RtspServer(street()) as server, running(server.url, max_crashes=2) as (stream, told):
            for times in range(3):
                await told.until(lambda told, times=times: [s for s, _ in told.states].count(STREAMING) > times)
                assert stream.pid is not None
                os.kill(stream.pid, signal.SIGKILL)
            await told.until(lambda told: told.states[-1][0] is IDLE)
            assert stream.pid is None
        return told

    told = asyncio.run(scenario())
    assert told.states[-1] == (IDLE, Reason.CRASHED)
    assert [lost.reason for lost in told.lost].count(Reason.CRASHED) == 3


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded() -> None:
    async def scenario() -> Told:
        limits = DecodeLimits(max_video_pixels=320 * 180 - 1)
        async with RtspServer(street()) as server, running(server.url, limits=limits) as (_, told):
            await told.until(failed(Reason.TOO_LARGE))
        return told

    assert asyncio.run(scenario()).frames == []


def test_a_stream_that_grows_over_the_limit_loses_counted_frames() -> None:
    other = street(width_px=640, height_px=360, fps=30.0, stream=4)

    async def scenario() -> Told:
        faults = RtspFaults(changes_at=15, other=other)
        limits = DecodeLimits(max_video_pixels=320 * 180)
        async with RtspServer(street(), faults) as server, running(server.url, limits=limits, stall_s=1.5) as (_, told):
            await told.until(failed(Reason.STALLED))
        return told

    told = asyncio.run(scenario())
    assert {barcode.decode(frame.rgb)[0] for frame in told.frames} == {3}
    assert sum(lost.count or 0 for lost in told.lost if lost.reason is Reason.UNDECODABLE) >= 15


def entries(path: str) -> int:
    return len(list(Path(path).iterdir()))


Held = tuple[int, int, list[str]]


def held() -> Held:
    """What this process holds: descriptors, threads, children; what earlier tests left to the collector is gone."""
    gc.collect()
    lists = [path.read_text(encoding="ascii").split() for path in Path("/proc/self/task").glob("*/children")]
    return entries("/proc/self/fd"), entries("/proc/self/task"), [child for children in lists for child in children]


@pytest.mark.parametrize(
    "reconnects", [pytest.param(120, id="120"), pytest.param(500, id="500", marks=pytest.mark.nightly)]
)
def test_reconnects_leave_no_descriptor_thread_or_process_behind(reconnects: int) -> None:
    """Half of them to a camera that hangs up at once, half to one that does after two frames."""
    in_decoders: dict[int, list[tuple[int, int]]] = {}

    async def scenario() -> tuple[Held, Held, Told]:
        policy = POLICIES[Backoff.EXPONENTIAL]
        async with RtspServer(street(), RtspFaults(refuses=True)) as server:
            async with running(server.url, policy=policy):
                pass  # whatever is made once is there now
            before = held()
            async with running(server.url, policy=policy, jitter=lambda: 1 - 1e-9) as (stream, told):

                def look(_: object) -> None:
                    pid = stream.pid or os.getpid()
                    seen = entries(f"/proc/{pid}/fd"), entries(f"/proc/{pid}/task")
                    in_decoders.setdefault(pid, []).append(seen)

                told.on_item = look
                await told.until(lambda _: server.accepted > reconnects // 2, within_s=60)
                server.faults = RtspFaults(closes_at=2)
                await told.until(lambda _: server.accepted > reconnects, within_s=60)
            await server.quiet()
            return before, held(), told

    before, after, told = asyncio.run(scenario())
    assert (after[0] <= before[0], after[1] <= before[1]) == (True, True), (before, after)
    assert set(after[2]) <= set(before[2])
    in_decoders.pop(os.getpid(), None)
    assert len(in_decoders) >= reconnects // 100  # each is replaced after 100 connections
    assert max(descriptors for seen in in_decoders.values() for descriptors, _ in seen) <= 16
    assert max(threads for seen in in_decoders.values() for _, threads in seen) <= 6
    assert [lost for lost in told.lost if lost.reason is Reason.CRASHED] == []


def test_the_count_of_what_is_held_finds_a_leak() -> None:
    before = held()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        descriptors, _, children = held()
        assert (descriptors, len(children)) == (before[0] + 1, len(before[2]) + 1)
    finally:
        os.close(descriptor)
        child.kill()
        child.wait()
