"""The Python client against the real service over a network that is cut, dead or gone: nothing lost or repeated."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from app.client import AsyncSightline, AsyncStream, SessionLimits, UnreachableError
from app.client import session as session_module
from app.client import sightline as sightline_module
from app.client.mark import ReadingMark
from app.client.outbox import Outbox
from app.core.result import Event, Gap, Status, Summary
from app.policy.reconnect import CAP_S, FAST_S, FIRST_S, Backoff
from app.policy.session import SessionState
from tests.api.client_side import FAST, FRAME, all_events, results, run, through, until
from tests.api.fake_host import FakeHost
from tests.api.live_wire import DeadWire
from tests.api.served import real_streams, serving
from tests.fakes import FakeChain
from tests.servers.proxy import proxying

CONNECT_S = 2.0
"""What a connection may take on this machine beside the policy's wait."""


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
    """How long each way back to `streaming` took, and how long the policy lets it take."""

    def __init__(self, wait_s: Callable[[int], float]) -> None:
        self.stream: AsyncStream | None = None
        self.took_s: list[tuple[float, float]] = []
        self._wait_s = wait_s
        self._begun = (0.0, 0)

    def __call__(self, state: SessionState) -> None:
        attempt = 0 if self.stream is None else self.stream._session._session.attempt
        match state:
            case SessionState.RECOVERING:
                self._begun = (time.monotonic(), attempt)
            case SessionState.STREAMING if self._begun[1]:
                begun_s, first = self._begun
                bound_s = sum(self._wait_s(one - 1) + CONNECT_S for one in range(first, attempt + 1))
                self.took_s.append((time.monotonic() - begun_s, bound_s))


def longest_wait_s(attempt: int) -> float:
    """Of the exponential policy."""
    return min(FIRST_S * 2**attempt, CAP_S)


async def send_through_cuts(
    port: int, *, cuts: int, limits: SessionLimits, seed: int = 0, up_to_bytes: int = 40_000
) -> tuple[list[Event], Summary, int, Recoveries]:
    """Frames sent while the network is cut `cuts` times, and some more."""
    async with proxying(port, seed=seed, up_to_bytes=up_to_bytes) as proxy:
        told = Recoveries(longest_wait_s if limits.backoff is Backoff.EXPONENTIAL else lambda _: FAST_S)
        async with through(proxy, limits=limits) as client:
            stream = told.stream = await client.open(on_state=told)
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
        for events, summary, sent, told in (fast, doubling):
            assert sent > 200
            check(events, summary, sent=sent)
            assert all(took_s <= bound_s for took_s, bound_s in told.took_s)
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


def test_leaving_says_when_frames_had_no_end() -> None:
    async def scenario() -> None:
        limits = SessionLimits(backoff=Backoff.FAST, give_up_s=0.5)
        async with serving() as served, proxying(served.port) as proxy, through(proxy, limits=limits) as client:
            stream = await client.open()
            proxy.is_closed = True
            proxy.cut()
            await stream.send(FRAME)
            with pytest.raises(UnreachableError):
                async with stream:
                    pass

    run(scenario)
