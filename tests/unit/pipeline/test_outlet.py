"""Saved, told, and put down for the sinks: nothing is left out, whoever fails in between."""

import asyncio
from collections.abc import Sequence

from app.core.errors import UnavailableError
from app.core.wire import WireEvent
from app.pipeline.event_log import EventLog
from app.pipeline.memory_store import MemoryStore
from app.pipeline.outlet import Outlet
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import StreamState


def event(seq: int) -> WireEvent:
    return WireEvent(event_id=f"s:0:{seq}", kind="FrameResult", seq=seq, body=b"{}")


class Sinks:
    """Where events are put down; a full disk takes none."""

    def __init__(self, *, refusals: int) -> None:
        self.put: list[str] = []
        self._refusals = refusals
        self.is_complete = asyncio.Event()

    async def deliver(self, events: Sequence[WireEvent]) -> None:
        if events and self._refusals:
            self._refusals -= 1
            raise UnavailableError
        self.put += [each.event_id for each in events]
        if "s:0:5" in self.put:
            self.is_complete.set()


async def opened(sinks: Sinks, *, log: EventLog, delivered: int = 0) -> tuple[Outlet, asyncio.Task[None]]:
    store = MemoryStore()
    claim = await store.create("s", StreamSpec())

    def state() -> StreamState:
        return StreamState(
            epoch=0,
            last_seq=-1,
            answered=0,
            dropped={},
            errors={},
            tracker=None,
            counter={},
            delivered=outlet.delivered,
        )

    outlet = Outlet("s", term=claim.term, store=store, log=log, state=state, deliver=sinks.deliver, delivered=delivered)
    return outlet, asyncio.create_task(outlet.run())


def test_events_that_the_disk_refused_are_put_down_later_each_once_and_in_order() -> None:
    async def scenario() -> list[str]:
        sinks = Sinks(refusals=2)
        outlet, running = await opened(sinks, log=EventLog("s", history=100))
        for seq in range(6):
            outlet.take([event(seq)])
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await sinks.is_complete.wait()
        running.cancel()
        return sinks.put

    assert asyncio.run(scenario()) == [f"s:0:{seq}" for seq in range(6)]


def test_the_last_of_the_events_is_put_down_too_when_nothing_follows_it() -> None:
    async def scenario() -> list[str]:
        sinks = Sinks(refusals=1)
        outlet, running = await opened(sinks, log=EventLog("s", history=100))
        outlet.take([event(5)])
        async with asyncio.timeout(5):
            await sinks.is_complete.wait()
        running.cancel()
        return sinks.put

    assert asyncio.run(scenario()) == ["s:0:5"]


def test_the_next_owner_puts_down_what_the_last_one_had_told_and_not_put() -> None:
    async def scenario() -> list[str]:
        sinks = Sinks(refusals=0)
        log = EventLog("s", history=100, events=[event(seq) for seq in range(2, 6)], begin=2)
        _, running = await opened(sinks, log=log, delivered=4)
        async with asyncio.timeout(5):
            await sinks.is_complete.wait()
        running.cancel()
        return sinks.put

    assert asyncio.run(scenario()) == ["s:0:4", "s:0:5"]
