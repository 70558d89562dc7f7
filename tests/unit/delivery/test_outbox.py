import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import UnavailableError
from app.delivery.outbox import Outbox, OutboxLimits
from app.delivery.outbox_file import ROW_BYTES, OutboxFile
from app.delivery.outbox_rows import DeadReason, Lane
from app.delivery.sinks import text_of
from tests.fakes import ManualClock
from tests.unit.delivery.parcels import OTHER_SINK, SINK, event, events, lane, until

ROOM = OutboxLimits(max_bytes=10**9, max_dead_bytes=10**9)
TEXT, OTHER_TEXT = text_of(SINK), text_of(OTHER_SINK)


def inside(folder: Path, scenario: Callable[[Outbox], Awaitable[None]], *, limits: OutboxLimits = ROOM) -> None:
    async def run() -> None:
        outbox = Outbox(folder, limits=limits, clock=ManualClock(1000.0))
        try:
            await scenario(outbox)
        finally:
            await outbox.close()

    asyncio.run(run())


async def seqs(outbox: Outbox, of: Lane, *, max_events: int = 10_000, max_bytes: int = 10**9) -> list[int]:
    return [row.event.seq for row in await outbox.head(of, max_events=max_events, max_bytes=max_bytes)]


async def dead(outbox: Outbox) -> list[tuple[str, str]]:
    return [(letter.event.event_id, letter.reason) for letter in await outbox.dead_letters(limit=10_000)]


def test_events_come_back_as_they_were_in_the_order_of_their_lane(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT, OTHER_TEXT], events("s", 0, 1))
        await outbox.append("t", [TEXT], events("t", 7))
        await outbox.append("s", [TEXT], events("s", 2))
        rows = await outbox.head(lane("s"), max_events=10, max_bytes=10**6)
        assert [row.event for row in rows] == events("s", 0, 1, 2)
        assert {row.put_s for row in rows} == {1000.0}
        assert await seqs(outbox, lane("s", OTHER_SINK)) == [0, 1]
        assert await seqs(outbox, lane("t")) == [7]
        assert await seqs(outbox, lane("nobody")) == []

    inside(tmp_path, scenario)


def test_an_event_that_waits_is_not_put_twice(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0, 1))
        await outbox.append("s", [TEXT, OTHER_TEXT], events("s", 1, 2, 2))
        assert await seqs(outbox, lane("s")) == [0, 1, 2]
        assert await seqs(outbox, lane("s", OTHER_SINK)) == [1, 2]
        assert outbox.totals["waiting", TEXT] == 3

    inside(tmp_path, scenario)


def test_a_head_holds_at_least_one_event_and_else_keeps_to_both_limits(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], [event("s", 0, size=500), *events("s", 1, 2, 3)])
        assert await seqs(outbox, lane("s"), max_bytes=1) == [0]
        assert await seqs(outbox, lane("s"), max_bytes=700) == [0, 1, 2]
        assert await seqs(outbox, lane("s"), max_events=2) == [0, 1]

    inside(tmp_path, scenario)


def test_what_is_delivered_or_buried_is_gone_and_counted(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT, OTHER_TEXT], events("s", 0, 1, 2))
        rows = await outbox.head(lane("s"), max_events=10, max_bytes=10**6)
        await outbox.delivered(lane("s"), rows[:1])
        await outbox.delivered(lane("s"), rows[:1])
        await outbox.bury(lane("s"), rows[1:2], reason=DeadReason.REFUSED)
        assert await seqs(outbox, lane("s")) == [2]
        assert await seqs(outbox, lane("s", OTHER_SINK)) == [0, 1, 2]
        assert await dead(outbox) == [("s:0:1", "refused")]
        assert outbox.totals == {
            ("waiting", TEXT): 1,
            ("delivered", TEXT): 1,
            ("refused", TEXT): 1,
            ("waiting", OTHER_TEXT): 3,
            ("bytes", ""): 4 * (100 + ROW_BYTES),
            ("dead_bytes", ""): 100 + ROW_BYTES,
        }

    inside(tmp_path, scenario)


def test_a_full_outbox_gives_up_its_oldest_events_and_says_so(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("old", [TEXT], events("old", *range(6)))
        await outbox.append("s", [OTHER_TEXT], events("s", *range(8)))
        assert await seqs(outbox, lane("old")) == [4, 5]
        assert await seqs(outbox, lane("s", OTHER_SINK)) == list(range(8))
        assert await dead(outbox) == [(f"old:0:{seq}", "overflow") for seq in range(4)]
        assert outbox.totals["overflow", TEXT] == 4
        assert outbox.totals["bytes", ""] == 10 * (100 + ROW_BYTES)

    inside(tmp_path, scenario, limits=OutboxLimits(max_bytes=10 * (100 + ROW_BYTES), max_dead_bytes=10**6))


def test_dead_letters_make_room_for_newer_ones_and_that_is_counted(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", *range(10)))
        assert await seqs(outbox, lane("s")) == [8, 9]
        assert await dead(outbox) == [("s:0:5", "overflow"), ("s:0:6", "overflow"), ("s:0:7", "overflow")]
        assert outbox.totals["overflow", TEXT] == 8
        assert outbox.totals["removed", ""] == 5

    row = 100 + ROW_BYTES
    inside(tmp_path, scenario, limits=OutboxLimits(max_bytes=2 * row, max_dead_bytes=3 * row))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=25))
def test_every_event_waits_or_is_delivered_or_is_dead_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]]
) -> None:
    async def scenario(outbox: Outbox) -> None:
        told, arrived = set(), set()
        for number, (stream_id, count, is_taken) in enumerate(steps):
            put = events(stream_id, *range(10 * number, 10 * number + count))
            await outbox.append(stream_id, [TEXT], put)
            told |= {one.event_id for one in put}
            rows = await outbox.head(lane(stream_id), max_events=3 * is_taken, max_bytes=10**6)
            await outbox.delivered(lane(stream_id), rows)
            arrived |= {row.event.event_id for row in rows}
        rows = [row for name in "abc" for row in await outbox.head(lane(name), max_events=999, max_bytes=10**6)]
        waiting = {row.event.event_id for row in rows}
        buried = {event_id for event_id, _ in await dead(outbox)}
        assert waiting | arrived | buried == told
        assert len(waiting) + len(arrived) + len(buried) == len(told)
        assert outbox.totals.get(("waiting", TEXT), 0) == len(waiting) <= 7

    limits = OutboxLimits(max_bytes=7 * (100 + ROW_BYTES), max_dead_bytes=10**6)
    inside(tmp_path_factory.mktemp("outbox"), scenario, limits=limits)


def files_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from app.delivery.outbox_rows import DeadReason
from tests.unit.delivery.test_outbox import *

async def main():
    outbox = Outbox(Path(sys.argv[1]), limits=ROOM)
    await outbox.append("s", [TEXT], events("s", *range(1200)))
    rows = await outbox.head(lane("s"), max_events=200, max_bytes=10**9)
    await outbox.delivered(lane("s"), rows[:199])
    await outbox.bury(lane("s"), rows[199:], reason=DeadReason.REFUSED)
    print("ready", flush=True)
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_what_a_killed_process_left_is_taken_over_and_goes_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        async def scenario(outbox: Outbox) -> None:
            await outbox.append("s", [TEXT], events("s", 1199, 1200))
            assert await outbox.adopt() == set(), "its owner is alive"
            process.communicate("x")
            assert process.returncode == -signal.SIGKILL
            assert await outbox.adopt() == {lane("s")}
            assert await seqs(outbox, lane("s")) == [*range(200, 1199), 1199, 1200]
            assert await dead(outbox) == [("s:0:199", "refused")]
            assert outbox.totals["waiting", TEXT] == 1001
            assert await outbox.adopt() == set()
            assert len(files_of(tmp_path)) == 4, "an outbox, its two companions and its lock"

        inside(tmp_path, scenario)


def test_of_two_processes_that_find_a_file_one_takes_it_over(tmp_path: Path) -> None:
    async def leaves(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", *range(2000)))

    async def finds(outbox: Outbox) -> None:
        other = Outbox(tmp_path, limits=ROOM)
        found = await asyncio.gather(outbox.adopt(), other.adopt())
        assert sorted(map(len, found)) == [0, 1]
        assert len(await seqs(outbox, lane("s"))) + len(await seqs(other, lane("s"))) == 2000
        await other.close()

    inside(tmp_path, leaves)
    inside(tmp_path, finds)


def test_taking_over_that_is_broken_off_begins_again(tmp_path: Path) -> None:
    async def leaves(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", *range(2000)))

    async def takes_over(outbox: Outbox) -> None:
        adopting = asyncio.create_task(outbox.adopt())
        await until(lambda: outbox.totals.get(("waiting", TEXT), 0) >= 500)
        adopting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adopting
        assert 500 <= outbox.totals["waiting", TEXT] < 2000
        assert await outbox.adopt() == {lane("s")}
        assert sorted(await seqs(outbox, lane("s"))) == list(range(2000))

    inside(tmp_path, leaves)
    inside(tmp_path, leaves)
    inside(tmp_path, takes_over)


def test_a_file_with_nothing_in_it_is_deleted_and_any_other_is_left(tmp_path: Path) -> None:
    async def fills(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0))

    async def empties(outbox: Outbox) -> None:
        assert await outbox.adopt() == {lane("s")}
        rows = await outbox.head(lane("s"), max_events=10, max_bytes=10**6)
        await outbox.delivered(lane("s"), rows)

    inside(tmp_path, fills)
    assert len(list(tmp_path.glob("*.outbox"))) == 1
    inside(tmp_path, empties)
    assert list(tmp_path.iterdir()) == []


def test_adopted_events_never_take_the_place_of_one_that_is_on_its_way(tmp_path: Path) -> None:
    async def leaves(outbox: Outbox) -> None:
        await outbox.append("t", [TEXT], events("t", *range(5)))

    async def takes_over(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0, 1, 2))
        on_their_way = await outbox.head(lane("s"), max_events=3, max_bytes=10**6)
        await outbox.append("big", [TEXT], [event("big", 0, size=12 * row - ROW_BYTES)])  # evicts them
        await outbox.append("big", [TEXT], [event("big", 1)])  # and this one the one before
        assert len(await dead(outbox)) == 4
        await outbox.adopt()
        await outbox.delivered(lane("s"), on_their_way)
        assert await seqs(outbox, lane("t")) == [0, 1, 2, 3, 4]

    row = 100 + ROW_BYTES
    inside(tmp_path, leaves)
    inside(tmp_path, takes_over, limits=OutboxLimits(max_bytes=12 * row, max_dead_bytes=10**6))


def test_a_broken_file_is_set_aside_and_the_others_are_taken_over(tmp_path: Path) -> None:
    async def leaves(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0))

    async def takes_over(outbox: Outbox) -> None:
        assert await outbox.adopt() == {lane("s")}
        assert await outbox.adopt() == set()

    (tmp_path / "a.outbox").write_bytes(b"not a database, and longer than a header would be" * 100)
    inside(tmp_path, leaves)
    inside(tmp_path, takes_over)
    assert (tmp_path / "a.broken").exists()


def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0))
        # SQLite's own bound stands in for a full disk: the same error, at the same calls.
        await outbox._call(lambda file: file._db.execute("PRAGMA max_page_count = 20"))
        with pytest.raises(UnavailableError, match="cannot be written"):
            await outbox.append("s", [TEXT, OTHER_TEXT], events("s", 1, 2, size=100_000))
        before = outbox.totals
        assert await seqs(outbox, lane("s")) == [0]
        assert outbox.totals == before
        assert before["waiting", TEXT] == 1
        assert before["bytes", ""] == 100 + ROW_BYTES
        await outbox._call(lambda file: file._db.execute("PRAGMA max_page_count = 100000"))
        await outbox.append("s", [TEXT], events("s", 1, 2))
        assert await seqs(outbox, lane("s")) == [0, 1, 2]

    inside(tmp_path, scenario)


def test_lanes_and_counts_of_what_is_long_gone_are_forgotten(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / "x", max_bytes=10**9, max_dead_bytes=0)
    with file.transaction():
        for number in range(3000):
            of = Lane(stream_id=f"s{number}", sink=f"sink{number}")
            file.append(of, events(of.stream_id, 0), now_s=0.0)
            file.delivered(of, file.head(of, max_events=1, max_bytes=1))
        file.append(lane("s"), events("s", 0), now_s=5.0)
    with file.transaction():
        file.sweep()
        assert file.lanes() == [lane("s")]
        assert file.oldest_s() == {TEXT: 5.0}
    sinks = {sink for _, sink in file.totals if sink}
    assert TEXT in sinks
    assert 1000 < len(sinks) < 1100
    file.close()


def test_a_closed_outbox_takes_nothing(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.close()
        with pytest.raises(UnavailableError):
            await outbox.append("s", [TEXT], events("s", 0))

    inside(tmp_path, scenario)


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def scenario(outbox: Outbox) -> None:
        await outbox.append("s", [TEXT], events("s", 0))
        assert (tmp_path / "box").stat().st_mode & 0o777 == 0o700

    previous = os.umask(0o022)
    try:
        inside(tmp_path / "box", scenario)
    finally:
        os.umask(previous)
