"""The Python client against the real service: what each call does, and that nothing is left behind."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api import sent_frame
from app.client import AsyncSightline, SessionLimits, Sightline, UnreachableError
from app.client.stream import MAX_FRAME_BYTES
from app.core.errors import (
    InvalidParameterError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UndecodableError,
)
from app.core.result import FrameResult, Gap, Status, Summary
from app.policy.session import SessionState
from app.settings import ROOT
from tests.api.client_side import FRAME, all_events, results, run, through, until
from tests.api.fake_host import FakeHost
from tests.api.served import served_apart, serving
from tests.builders import make_rgb
from tests.servers.proxy import proxying
from tests.unit.media.videos import video

OPEN_FILES = Path("/proc/self/fd")


def test_no_more_is_sent_than_there_is_credit_for() -> None:
    async def scenario() -> None:
        host = FakeHost(window=2)
        host.is_slow = True
        async with serving(host=host) as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            await stream.send_all([FRAME] * 10)
            for count in (2, 4, 6, 8, 10):
                await until(lambda count=count: sum(map(len, host.offers)) == count)  # type: ignore[misc]
                host.answer(stream.stream_id)
            await stream.drain()
            assert [offer.dropped for offers in host.offers for offer in offers] == [None] * 10

    run(scenario)


def test_every_frame_waits_where_no_more_may_be_held() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url, limits=SessionLimits(max_frames=6)) as client:
            served.chain.gate.clear()
            stream = await client.open()
            sending = asyncio.create_task(stream.send_all([FRAME] * 100))
            await until(lambda: len(served.chain.batches) == 1)
            done, _ = await asyncio.wait({sending}, timeout=0.3)
            assert not done
            assert len(stream._session.outbox) == 6
            served.chain.gate.set()
            assert await sending == 100
            summary = await stream.finish()
            assert (summary.captured, summary.answered) == (100, 100)

    run(scenario)


def test_a_frame_that_cannot_be_decoded_ends_in_an_error_and_the_next_goes_on() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            await stream.send_all([b"bad", FRAME])
            summary = await stream.finish()
            bad, good = results(await all_events(stream))
            assert (bad.status, bad.reason, good.status) == (Status.ERROR, "undecodable", Status.RESULT)
            assert summary.errors == {"undecodable": 1}

    run(scenario)


def test_a_frame_that_the_service_refuses_is_told_and_does_not_hold_up_the_rest() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            await stream.send(FRAME, metadata={str(n): "" for n in range(40)})
            await stream.send(FRAME)
            await stream.finish()
            events = results(await all_events(stream))
            assert [(end.seq, end.status, bool(end.event_id)) for end in events] == [
                (0, Status.ERROR, False),
                (1, Status.RESULT, True),
            ]

    run(scenario)


def test_a_watcher_begins_with_now_by_default() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            await stream.send_all([FRAME] * 5)
            await stream.drain()
            watching = await client.watch(stream.stream_id)
            await stream.send(FRAME)
            await stream.finish()
            assert [end.seq for end in results(await all_events(watching))] == [5]

    run(scenario)


def test_who_comes_back_goes_on_with_the_numbers() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            first = await client.open(label="gate")
            await first.send_all([FRAME] * 3)
            await first.drain()
            await first.close()
            async with await client.attach(first.stream_id) as second:
                assert await second.send(FRAME) == 3
                await second.drain()
            (info,) = await client.streams()
            assert (info.stream_id, info.label, info.last_seq, info.answered) == (first.stream_id, "gate", 3, 4)
            summary = await client.close_stream(first.stream_id)
            assert summary.captured == 4
            assert await client.streams() == []

    run(scenario)


def test_a_stream_that_somebody_closes_ends_with_its_summary_and_takes_no_more() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            await stream.send(FRAME)
            await stream.drain()
            summary = await client.close_stream(stream.stream_id)
            assert (await all_events(stream))[-1] == summary
            with pytest.raises(NotFoundError):
                await stream.send(FRAME)
            assert stream.state is SessionState.IDLE

    run(scenario)


def test_leaving_with_an_exception_closes_the_stream_without_waiting() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            served.chain.gate.clear()
            stream = await client.open()
            await stream.send(FRAME)
            with pytest.raises(ZeroDivisionError):
                async with stream:
                    raise ZeroDivisionError
            assert await client.streams() == []
            served.chain.gate.set()

    run(scenario)


def test_a_stream_that_the_service_pulls_takes_no_frames_from_here() -> None:
    async def scenario() -> None:
        async with serving(host=FakeHost()) as served, AsyncSightline(served.url) as client:
            stream = await client.open(source="rtsp://camera.example/live")
            with pytest.raises(InvalidParameterError):
                await stream.send(FRAME)

    run(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {"picture": b""},
        {"picture": bytes(MAX_FRAME_BYTES + 1)},
        {"picture": np.zeros((4, 4), np.uint8)},
        {"picture": np.zeros((4, 4, 3), np.float32)},
        {"picture": FRAME, "captured_at": float("nan")},
        {"picture": FRAME, "captured_at": 1e300},
        {"picture": FRAME, "metadata": {"gate": 7}},
        {"picture": FRAME, "metadata": {"gate": "\ud800"}},
    ],
    ids=lambda wrong: str({key: value for key, value in wrong.items() if key != "picture"} or wrong["picture"][:1]),
)
def test_what_cannot_be_sent_is_refused_where_it_is_given_and_the_stream_goes_on(wrong: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            with pytest.raises((InvalidParameterError, TooLargeError)):
                await stream.send(**wrong)
            assert await stream.send(FRAME) == 0
            assert (await stream.finish()).captured == 1

    run(scenario)


def test_the_largest_picture_is_the_service_s() -> None:
    assert sent_frame.MAX_FRAME_BYTES == MAX_FRAME_BYTES


def test_pixels_and_files_are_sent_as_pictures(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "picture.jpg"
        file.write_bytes(FRAME)
        async with serving() as served, AsyncSightline(served.url) as client, await client.open() as stream:
            await stream.send(make_rgb())
            await stream.send(file)
            await stream.drain()
            jpeg, as_it_was = (bytes(frame.data) for batch in served.chain.batches for frame in batch)
            assert (jpeg[:3], as_it_was) == (b"\xff\xd8\xff", FRAME)

    run(scenario)


def test_unread_events_make_room_and_a_gap_says_so() -> None:
    async def scenario() -> None:
        limits = SessionLimits(max_events=10)
        async with serving() as served, AsyncSightline(served.url, limits=limits) as client:
            stream = await client.open()
            await stream.send_all([FRAME] * 100)
            await stream.finish()
            first, *rest = await all_events(stream)
            assert isinstance(first, Gap)
            assert [end.seq for end in results(rest)] == list(range(first.next_seq, 100))

    run(scenario)


def test_a_picture_is_detected_and_errors_are_the_service_s_own() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            assert (await client.detect(FRAME)).objects[0].box == (1, 2, 30, 40)
            with pytest.raises(UndecodableError):
                await client.detect(b"bad")
            with pytest.raises(InvalidParameterError, match="conf"):
                await client.detect(FRAME, conf=7)
            with pytest.raises(NotFoundError):
                await client.watch("0" * 32)
            with pytest.raises(InvalidParameterError, match="mood"):
                await client.open(mood="sunny")

    run(scenario)


def test_a_full_service_says_so_after_a_few_tries() -> None:
    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as client:
            served.chain.on_detect = raise_overloaded
            begun_s = time.monotonic()
            with pytest.raises(OverloadedError):
                await client.detect(FRAME)
            assert time.monotonic() - begun_s < 15
            assert len(served.chain.batches) == 4

    def raise_overloaded(_frames: object) -> None:
        raise OverloadedError("full", retry_after_s=0.2)

    run(scenario)


def test_nobody_there_is_unreachable() -> None:
    async def scenario() -> None:
        async with proxying() as proxy:
            proxy.is_closed = True
            async with through(proxy) as client:
                with pytest.raises(UnreachableError):
                    await client.streams()

    run(scenario)


def test_the_blocking_client_does_the_same_and_leaves_nothing_behind() -> None:
    threads, files = set(threading.enumerate()), len(list(OPEN_FILES.iterdir()))
    with served_apart() as url:
        with Sightline(url) as client:
            with client.open(label="gate") as stream:
                assert stream.send_all([FRAME] * 50) == 50
            events = list(stream)
            assert [end.seq for end in results(events)] == list(range(50))
            assert isinstance(events[-1], Summary)
            assert client.streams() == []
            other = client.open()
            watching = client.watch(other.stream_id, since=-1)
            other.send(FRAME, captured_at=1_800_000_000.25, metadata={"gate": "north"})
            first = next(event for event in watching if isinstance(event, FrameResult))
            assert first.captured_at is not None
            assert (first.captured_at.timestamp(), first.metadata) == (1_800_000_000.25, {"gate": "north"})
            assert client.show(other.stream_id).captured == 1
        client.close()
        assert client._loop.is_stopped
    assert set(threading.enumerate()) == threads
    assert len(list(OPEN_FILES.iterdir())) == files


def test_every_call_has_its_blocking_form(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(video(n=5))
    with served_apart() as url, Sightline(url) as client:
        assert client.detect(FRAME).objects[0].label == "person"
        info = client.create(label="yard")
        with client.attach(info.stream_id) as stream:
            stream.send(make_rgb())
            stream.drain()
            assert stream.state is SessionState.STREAMING
            assert stream.send_file(clip).error is None
        assert client.close_stream(info.stream_id).answered == 6
        other = client.open()
        other.send(FRAME)
        assert other.finish().answered == 1
        last = client.open()
        last.close()
        with pytest.raises(NotFoundError):
            last.send(FRAME)
    with pytest.raises(InvalidRequestError):
        client.streams()


def test_a_program_that_closes_nothing_ends_all_the_same() -> None:
    program = "import sys; from app.client import Sightline; Sightline(sys.argv[1]).open().send(b'x')"
    with served_apart() as url:
        line = [sys.executable, "-X", "dev", "-W", "error", "-c", program, url]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
