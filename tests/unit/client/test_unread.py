"""Events that wait for their reader: in order, bounded, and what had to go is told."""

import asyncio

import pytest

from app.client.unread import Unread
from app.core.errors import UnavailableError
from app.core.result import Event, FrameResult, Gap, StreamState
from tests.unit.contract.events import make_result


def result(seq: int) -> FrameResult:
    return make_result(seq=seq, event_id=f"cam:1:{seq}")


def state(number: int) -> StreamState:
    return StreamState(stream_id="cam", epoch=1, event_id=f"cam:1:state:{number}", state="streaming")


def read(unread: Unread) -> list[Event]:
    return asyncio.run(unread.read())


def test_events_are_read_in_their_order_and_once() -> None:
    unread = Unread(max_events=10)
    unread.put(state(0))
    unread.put(result(0))
    assert read(unread) == [state(0), result(0)]
    unread.put(result(1))
    unread.end()
    assert read(unread) == [result(1)]
    assert read(unread) == []


def test_the_reader_gets_what_has_come_before_the_error_that_ended_it() -> None:
    unread = Unread(max_events=10)
    unread.put(result(0))
    unread.end(UnavailableError("gone"))
    assert read(unread) == [result(0)]
    with pytest.raises(UnavailableError):
        read(unread)


def test_what_had_to_go_is_told_as_a_gap_in_its_place() -> None:
    unread = Unread(max_events=3)
    unread.put(result(0))
    assert read(unread) == [result(0)]
    for seq in range(1, 7):
        unread.put(state(seq))
        unread.put(result(seq))
    gap, *rest = read(unread)
    assert isinstance(gap, Gap)
    assert (gap.after_seq, gap.next_seq, gap.event_id) == (0, 6, "cam:1:gap:5")
    assert rest == [state(6), result(6)]


def test_without_a_result_nothing_goes() -> None:
    unread = Unread(max_events=2)
    for number in range(5):
        unread.put(state(number))
    assert len(read(unread)) == 5


def test_who_asks_for_room_first_loses_nothing() -> None:
    async def scenario() -> list[Event]:
        unread = Unread(max_events=2)

        async def write() -> None:
            for seq in range(50):
                await unread.room()
                unread.put(result(seq))
            unread.end()

        writing = asyncio.create_task(write())
        got: list[Event] = []
        while events := await unread.read():
            assert len(events) <= 2
            got += events
        await writing
        return got

    assert asyncio.run(scenario()) == [result(seq) for seq in range(50)]


def test_the_end_frees_who_waits_for_room() -> None:
    async def scenario() -> None:
        unread = Unread(max_events=1)
        unread.put(result(0))
        waiting = asyncio.create_task(unread.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        unread.end()
        await waiting

    asyncio.run(scenario())
