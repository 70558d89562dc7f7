"""A reader goes on exactly where it was, and is told of what it has missed."""

import asyncio
import json

import pytest

from app.core.errors import InvalidParameterError
from app.core.wire import WireEvent
from app.pipeline.event_log import EventLog


def result(seq: int, *, epoch: int = 0) -> WireEvent:
    return WireEvent(event_id=f"s:{epoch}:{seq}", kind="FrameResult", seq=seq, body=b"{}")


def crossing(seq: int, index: int = 0) -> WireEvent:
    return WireEvent(event_id=f"s:0:{seq}:{index}", kind="LineCrossed", seq=seq, body=b"{}")


def state(seq: int, index: int) -> WireEvent:
    return WireEvent(event_id=f"s:0:state:{index}", kind="StreamState", seq=seq, body=b"{}")


def log(*events: WireEvent, history: int = 100) -> EventLog:
    made = EventLog("s", history=history)
    made.append(events)
    return made


def read(made: EventLog, position: int) -> list[str]:
    events, _ = asyncio.run(made.read(position, wait_s=0))
    return [event.event_id for event in events]


TOLD = (state(-1, 0), result(0), crossing(1), crossing(1, 1), result(1), state(1, 1), result(5))


@pytest.mark.parametrize(
    ("after", "first"),
    [
        (-1, "s:0:state:0"),
        (0, "s:0:1:0"),
        (1, "s:0:state:1"),
        (3, "s:0:5"),
    ],
)
def test_reading_after_a_frame_gives_all_that_belongs_to_the_next(after: int, first: str) -> None:
    made = log(*TOLD)
    assert read(made, made.position(after_seq=after))[0] == first


def test_reading_after_any_event_gives_exactly_the_following() -> None:
    made = log(*TOLD)
    ids = [event.event_id for event in TOLD]
    for index, event_id in enumerate(ids):
        assert read(made, made.position(after_event=event_id)) == ids[index + 1 :]


def test_reading_after_the_newest_waits_for_what_comes() -> None:
    async def scenario() -> list[str]:
        made = log(result(0))
        reading = asyncio.create_task(made.read(made.position(after_seq=2**63 - 1), wait_s=5))
        await asyncio.sleep(0)
        made.append([result(1)])
        events, position = await reading
        assert await made.read(position, wait_s=0) == ((), position)
        return [event.event_id for event in events]

    assert asyncio.run(scenario()) == ["s:0:1"]


@pytest.mark.parametrize("after", [-1, 3])
def test_who_comes_too_late_is_told_which_frames_it_missed(after: int) -> None:
    made = log(*(result(seq) for seq in range(10)), history=4)
    (gap, *events), _ = asyncio.run(made.read(made.position(after_seq=after), wait_s=0))
    told = json.loads(gap.body)
    assert (told["after_seq"], told["next_seq"], gap.event_id) == (after, 6, "s:0:gap:5")
    assert [event.seq for event in events] == [6, 7, 8, 9]


def test_a_reader_who_falls_behind_is_told_from_where_it_was() -> None:
    made = log(*(result(seq) for seq in range(3)), history=4)
    _, position = asyncio.run(made.read(0, wait_s=0))
    made.append([result(seq) for seq in range(3, 20)])
    (gap, *_), _ = asyncio.run(made.read(position, wait_s=0))
    assert (json.loads(gap.body)["after_seq"], json.loads(gap.body)["next_seq"]) == (2, 16)


def test_positions_hold_across_owners() -> None:
    made = log(*(result(seq) for seq in range(10)), history=4)
    position = made.position(after_seq=7)
    heir = EventLog("s", history=4, events=[result(seq) for seq in range(6, 10)], begin=6)
    assert read(heir, position) == read(made, position) == ["s:0:8", "s:0:9"]
    (gap, *_), _ = asyncio.run(heir.read(heir.position(after_seq=2), wait_s=0))
    assert json.loads(gap.body)["after_seq"] == 2


def test_an_event_that_is_forgotten_is_gone_on_from_by_its_frame() -> None:
    made = log(*(result(seq) for seq in range(10)), history=4)
    assert read(made, made.position(after_event="s:0:2")) == ["s:0:gap:5", "s:0:6", "s:0:7", "s:0:8", "s:0:9"]
    assert read(made, made.position(after_event="s:0:8:0")) == ["s:0:8", "s:0:9"]


@pytest.mark.parametrize(
    "forged",
    ["", "x", "s", "s:", "s:0", "t:0:1", "s:0:-1", "s:0:x", "s:x:1", "s:0:1:x", "s:0:summary", "s:0:" + "9" * 40],
)
def test_a_forged_id_is_refused(forged: str) -> None:
    with pytest.raises(InvalidParameterError):
        log(result(0)).position(after_event=forged)


def test_a_log_that_begins_anew_far_on_is_waited_at_and_not_spun_on() -> None:
    async def scenario() -> list[str]:
        heir = EventLog("s", history=4, begin=1 << 32)
        reading = asyncio.create_task(heir.read(0, wait_s=5))
        await asyncio.sleep(0)
        assert not reading.done()
        heir.append([result(3, epoch=1)])
        events, _ = await reading
        return [event.event_id for event in events]

    assert asyncio.run(scenario()) == ["s:1:gap:2", "s:1:3"]


def test_a_long_history_is_read_in_parts() -> None:
    made = log(*(result(seq) for seq in range(150)), history=1000)
    seen: list[int] = []
    position, parts = 0, 0
    while not made.is_read(position):
        events, position = asyncio.run(made.read(position, wait_s=0))
        seen += [event.seq for event in events]
        parts += 1
    assert seen == list(range(150))
    assert parts == 3
