"""The Python client against the real service over a network that is cut, slow, gone or wrong."""

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api import sent_frame
from app.client import AsyncSightline, AsyncStream, SessionLimits, Sightline, UnreachableError
from app.client import session as session_module
from app.client import sightline as sightline_module
from app.client.mark import ReadingMark
from app.client.outbox import Outbox
from app.client.stream import MAX_FRAME_BYTES
from app.core.errors import InvalidParameterError, NotFoundError, OverloadedError, TooLargeError, UndecodableError
from app.core.result import Event, FrameResult, Gap, Status, Summary
from app.policy.reconnect import CAP_S, FAST_S, FIRST_S, Backoff
from app.policy.session import SessionState
from app.settings import ROOT
from tests.api.fake_host import FakeHost
from tests.api.live_wire import DeadWire
from tests.api.served import real_streams, served_apart, serving
from tests.builders import make_rgb
from tests.fakes import FakeChain
from tests.servers.proxy import Proxy, proxying

FRAME = b"x" * 200
WITHIN_S = 60.0
CONNECT_S = 1.5
"""What a connection may take on this machine beside the policy's wait."""
OPEN_FILES = Path("/proc/self/fd")
FAST = SessionLimits(backoff=Backoff.FAST)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await scenario()

    asyncio.run(bounded())


def through(proxy: Proxy, *, limits: SessionLimits | None = None) -> AsyncSightline:
    """A client of whatever is behind the proxy."""
    return AsyncSightline(f"http://127.0.0.1:{proxy.port}", limits=limits)


async def all_events(stream: AsyncStream) -> list[Event]:
    return [event async for event in stream.events()]


def results(events: list[Event]) -> list[FrameResult]:
    return [event for event in events if isinstance(event, FrameResult)]


def check(events: list[Event], summary: Summary, *, sent: int) -> None:
    """Each frame has one result, in order, with its own metadata; no event came twice; the accounts agree."""
    ends = results(events)
    assert [end.seq for end in ends] == list(range(sent)), "a frame was lost or repeated"
    assert [end.metadata["n"] for end in ends] == [str(n) for n in range(sent)]
    assert max(Counter(event.event_id for event in events).values()) == 1, "an event came twice"
    assert (summary.captured, summary.answered, summary.in_flight) == (sent, sent, 0)
    assert events[-1] == summary
    assert not [event for event in events if isinstance(event, Gap)]


class Recoveries:
    """How long each way back to `streaming` took, and how many cuts it had to survive."""

    def __init__(self, proxy: Proxy) -> None:
        self.took_s: list[tuple[float, int]] = []
        self._proxy = proxy
        self._begun = (0.0, 0)

    def __call__(self, state: SessionState) -> None:
        now_s = time.monotonic()
        match state:
            case SessionState.RECOVERING:
                self._begun = (now_s, self._proxy.cuts)
            case SessionState.STREAMING if self._begun[0]:
                begun_s, cuts = self._begun
                self.took_s.append((now_s - begun_s, 1 + self._proxy.cuts - cuts))


async def send_through_cuts(
    port: int, *, cuts: int, limits: SessionLimits, seed: int = 0, up_to_bytes: int = 40_000
) -> tuple[list[Event], Summary, int, Recoveries]:
    """Frames sent while the network is cut `cuts` times, and some more."""
    async with proxying(port, seed=seed, up_to_bytes=up_to_bytes) as proxy:
        told = Recoveries(proxy)
        async with through(proxy, limits=limits) as client:
            stream = await client.open(on_state=told)
            reading = asyncio.create_task(all_events(stream))
            proxy.cuts_left = cuts
            sent = 0
            while proxy.cuts_left or sent % 10:
                await stream.send(FRAME, metadata={"n": str(sent)})
                sent += 1
            summary = await stream.finish()
            assert proxy.cuts == cuts
            return await reading, summary, sent, told


def test_fifty_cuts_lose_nothing_repeat_nothing_and_the_stream_is_back_within_the_policy_s_bound() -> None:
    async def scenario() -> None:
        async with serving() as served:
            fast, doubling = await asyncio.gather(
                send_through_cuts(served.port, cuts=50, limits=FAST),
                send_through_cuts(served.port, cuts=15, limits=SessionLimits(), seed=1, up_to_bytes=120_000),
            )
        for events, summary, sent, _ in (fast, doubling):
            assert sent > 500
            check(events, summary, sent=sent)
        assert all(took_s <= tries * (FAST_S + CONNECT_S) for took_s, tries in fast[3].took_s)
        assert all(
            took_s <= sum(min(FIRST_S * 2**attempt, CAP_S) for attempt in range(tries + 1)) + tries * CONNECT_S
            for took_s, tries in doubling[3].took_s
        )
        assert len(fast[3].took_s) > 25

    run(scenario)


class Forgetful(Outbox):
    """The planted bug: a cut forgets the oldest frame that was sent."""

    def connect(self) -> None:
        super().connect()
        if self._unsent and self._frames:
            self._forget(self._unsent.popleft())


class FromTheStart(ReadingMark):
    """The planted bug: every connection reads everything again."""

    def is_new(self, event: Event) -> bool:
        super().is_new(event)
        self.since = -1
        return True


@pytest.mark.parametrize(
    ("module", "name", "planted"),
    [(sightline_module, "Outbox", Forgetful), (session_module, "ReadingMark", FromTheStart)],
)
def test_the_check_sees_a_client_that_loses_or_repeats(
    module: Any, name: str, planted: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, planted)

    async def scenario() -> None:
        async with serving() as served:
            events, summary, sent, _ = await send_through_cuts(served.port, cuts=8, limits=FAST)
        check(events, summary, sent=sent)

    with pytest.raises(AssertionError, match="lost or repeated"):
        run(scenario)


def test_a_go_away_moves_the_stream_to_the_next_replica_and_no_frame_is_lost_or_repeated() -> None:
    async def scenario() -> None:
        chain = FakeChain()
        host = real_streams(chain)
        async with serving(chain=chain, host=host) as old, serving(chain=chain, host=host) as new, proxying() as proxy:
            proxy.target_port = old.port
            async with through(proxy) as client:
                stream = await client.open()
                reading = asyncio.create_task(all_events(stream))
                for n in range(300):
                    await stream.send(FRAME, metadata={"n": str(n)})
                    if n == 100:
                        proxy.target_port = new.port
                        old.draining.set()
                summary = await stream.finish()
                check(await reading, summary, sent=300)
                assert stream.cuts == 1
        await host.stop()

    run(scenario)


def test_frames_that_an_owner_took_with_it_are_answered_by_the_next() -> None:
    async def scenario() -> None:
        host = FakeHost(window=4)
        async with serving(host=host) as served, AsyncSightline(served.url) as client:
            stream = await client.open()
            host.is_slow = True
            for n in range(4):
                await stream.send(FRAME, metadata={"n": str(n)})
            await until(lambda: sum(map(len, host.offers)) == 4)
            host.die()
            host.is_slow = host.is_dead = False
            await stream.drain()
            summary = await stream.finish()
            check(await all_events(stream), summary, sent=4)

    run(scenario)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)


def test_every_frame_waits_for_credit_and_never_sends_more_than_it_has() -> None:
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


def test_latest_frame_never_waits_and_tells_of_every_frame_that_it_left_out() -> None:
    async def scenario() -> None:
        async with serving() as served, proxying(served.port) as proxy:
            limits = SessionLimits(backoff=Backoff.FAST)
            async with through(proxy, limits=limits) as client:
                stream = await client.open(mode="latest_frame")
                await stream.send(FRAME)
                await stream.drain()
                proxy.is_closed = True
                proxy.cut()
                await until(lambda: stream.state is SessionState.RECOVERING)
                async with asyncio.timeout(2):
                    await stream.send_all([FRAME] * 500)
                assert len(stream._session.outbox) == 500
                assert stream._session.outbox._held_bytes == len(FRAME)
                proxy.is_closed = False
                summary = await stream.finish()
                ends = results(await all_events(stream))
        assert [end.seq for end in ends] == list(range(501))
        assert summary.dropped == {"superseded": 499}
        assert (summary.captured, summary.answered, ends[-1].status) == (501, 2, Status.RESULT)

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


def test_a_watcher_reads_from_where_it_likes_through_cuts_each_event_once() -> None:
    async def scenario() -> None:
        async with (
            serving() as served,
            proxying(served.port, up_to_bytes=6000) as proxy,
            AsyncSightline(served.url) as client,
            through(proxy, limits=FAST) as watcher,
        ):
            stream = await client.open()
            await stream.send_all([FRAME] * 20)
            await stream.drain()
            watching = await watcher.watch(stream.stream_id, since=4)
            proxy.cuts_left = 5
            reading = asyncio.create_task(all_events(watching))
            await stream.send_all([FRAME] * 40)
            await until(lambda: watching._session._mark.since == 59)
            proxy.cuts_left = 0
            await stream.finish()
            events = await reading
            assert [end.seq for end in results(events)] == list(range(5, 60))
            assert max(Counter(event.event_id for event in events).values()) == 1
            assert isinstance(events[-1], Summary)
            assert proxy.cuts

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


def test_leaving_says_when_frames_had_no_end() -> None:
    async def scenario() -> None:
        limits = SessionLimits(backoff=Backoff.FAST, give_up_s=0.5)
        async with serving() as served, proxying(served.port) as proxy, through(proxy, limits=limits) as client:
            stream = await client.open()
            with pytest.raises(UnreachableError):
                async with stream:
                    proxy.is_closed = True
                    proxy.cut()
                    await stream.send(FRAME)

    run(scenario)


def test_a_network_that_falls_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.connection.PING_S", 0.1)
    monkeypatch.setattr("app.client.connection.SILENT_S", 0.2)

    async def scenario() -> None:
        async with serving() as served, AsyncSightline(served.url) as direct:
            info = await direct.create()
            wire = DeadWire(served.port)
            async with wire.laid() as port, proxying(port) as proxy, through(proxy, limits=FAST) as client:
                stream = await client.attach(info.stream_id)
                await stream.send(FRAME)
                await stream.drain()
                wire.cut()
                proxy.target_port = served.port
                await stream.send(FRAME)
                await stream.drain()
                assert stream.cuts == 1

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


def test_the_service_gone_for_too_long_ends_the_session_with_the_last_failure() -> None:
    async def scenario() -> None:
        limits = SessionLimits(backoff=Backoff.FAST, give_up_s=1.0)
        async with serving() as served, proxying(served.port) as proxy, through(proxy, limits=limits) as client:
            stream = await client.open()
            await stream.send(FRAME)
            await stream.drain()
            proxy.is_closed = True
            proxy.cut()
            await stream.send(FRAME)
            begun_s = time.monotonic()
            with pytest.raises(UnreachableError, match="1 s"):
                await stream.drain()
            assert time.monotonic() - begun_s < 3
            assert [end.seq for end in results(await stream.read())] == [0]
            for call in (stream.read(), stream.send(FRAME)):
                with pytest.raises(UnreachableError):
                    await call

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


def test_a_program_that_closes_nothing_ends_all_the_same() -> None:
    program = "import sys; from app.client import Sightline; Sightline(sys.argv[1]).open().send(b'x')"
    with served_apart() as url:
        line = [sys.executable, "-X", "dev", "-W", "error", "-c", program, url]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
