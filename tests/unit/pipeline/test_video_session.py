import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.core.errors import InvalidRequestError, UndecodableError
from app.core.frame import Frame
from app.core.outcome import Dropped, DropReason, End, Outcome
from app.pipeline.video_session import VideoSession
from tests.builders import make_frame, make_ref


def frames(count: int, *, end: End | None = None) -> Iterator[Outcome[Frame]]:
    for seq in range(count):
        yield make_frame(ref=make_ref(seq=seq))
    yield end or End()


def seqs(items: list[Outcome[Frame]]) -> list[int]:
    return [item.ref.seq for item in items if not isinstance(item, End)]


def start(session: VideoSession) -> threading.Thread:
    thread = threading.Thread(target=session.decode, daemon=True)
    thread.start()
    return thread


def test_every_frame_is_handed_out_once_and_in_order() -> None:
    async def scenario() -> list[Outcome[Frame]]:
        session = VideoSession(frames(20), depth=4, keeps_latest=False)
        start(session)
        items: list[Outcome[Frame]] = []
        batch = 0
        while not items or not isinstance(items[-1], End):
            items += await session.read(batch=batch, max_frames=3)
            batch += 1
        return items

    assert seqs(asyncio.run(scenario())) == list(range(20))


def test_batches_keep_the_order_of_their_numbers_whatever_the_order_of_the_calls() -> None:
    async def scenario() -> list[list[int]]:
        session = VideoSession(frames(6), depth=8, keeps_latest=False)
        start(session).join()
        late = asyncio.create_task(session.read(batch=1, max_frames=3))
        await asyncio.sleep(0.01)
        first = await session.read(batch=0, max_frames=3)
        return [seqs(first), seqs(await late)]

    assert asyncio.run(scenario()) == [[0, 1, 2], [3, 4, 5]]


def test_the_decoder_waits_for_its_readers_and_holds_no_more_than_its_depth() -> None:
    decoded: list[int] = []

    def counted() -> Iterator[Outcome[Frame]]:
        for seq in range(50):
            decoded.append(seq)
            yield make_frame(ref=make_ref(seq=seq))

    async def scenario() -> int:
        session = VideoSession(counted(), depth=4, keeps_latest=False)
        thread = start(session)
        await asyncio.sleep(0.1)
        held = len(decoded)
        session.close()
        thread.join(5)
        return held

    assert asyncio.run(scenario()) == 5  # four in the mailbox and the one that waits at its door


def test_with_latest_frame_the_decoder_never_waits_and_the_older_frames_end_as_drops() -> None:
    async def scenario() -> list[Outcome[Frame]]:
        session = VideoSession(frames(10), depth=3, keeps_latest=True)
        start(session).join(5)
        return await session.read(batch=0, max_frames=100)

    items = asyncio.run(scenario())
    assert seqs(items) == list(range(10))
    assert [item.ref.seq for item in items if isinstance(item, Frame)] == [7, 8, 9]
    assert {item.reason for item in items if isinstance(item, Dropped)} == {DropReason.SUPERSEDED}


def test_reading_past_the_end_gives_nothing() -> None:
    async def scenario() -> tuple[list[Outcome[Frame]], list[Outcome[Frame]]]:
        session = VideoSession(frames(1, end=End(error=UndecodableError("cut"))), depth=3, keeps_latest=False)
        start(session).join()
        return await session.read(batch=0, max_frames=8), await session.read(batch=1, max_frames=8)

    first, second = asyncio.run(scenario())
    assert isinstance(first[-1], End)
    assert isinstance(first[-1].error, UndecodableError)
    assert second == []


def test_a_batch_is_handed_out_only_once() -> None:
    async def scenario() -> None:
        session = VideoSession(frames(5), depth=8, keeps_latest=False)
        start(session).join()
        await session.read(batch=0, max_frames=2)
        with pytest.raises(InvalidRequestError):
            await session.read(batch=0, max_frames=2)

    asyncio.run(scenario())


def test_which_frames_a_batch_held_is_remembered() -> None:
    async def scenario() -> list[int]:
        session = VideoSession(frames(5), depth=8, keeps_latest=False)
        start(session).join()
        await session.read(batch=0, max_frames=2)
        await session.read(batch=1, max_frames=2)
        return [ref.seq for ref in session.refs(1)]

    assert asyncio.run(scenario()) == [2, 3]


def test_closing_wakes_everyone_who_waits() -> None:
    never = threading.Event()

    def endless() -> Iterator[Outcome[Frame]]:
        never.wait(5)
        yield End()

    async def scenario() -> list[list[Outcome[Frame]]]:
        session = VideoSession(endless(), depth=3, keeps_latest=False)
        start(session)
        waiting = [asyncio.create_task(session.read(batch=batch, max_frames=1)) for batch in range(3)]
        await asyncio.sleep(0.02)
        session.close()
        return await asyncio.wait_for(asyncio.gather(*waiting), 2)

    assert asyncio.run(scenario()) == [[], [], []]
    never.set()


def test_a_decoder_that_breaks_ends_the_video_with_a_typed_error() -> None:
    def broken() -> Iterator[Outcome[Frame]]:
        yield make_frame(ref=make_ref(seq=0))
        raise ZeroDivisionError

    async def scenario() -> list[Outcome[Frame]]:
        session = VideoSession(broken(), depth=3, keeps_latest=False)
        start(session).join()
        return await session.read(batch=0, max_frames=8)

    items = asyncio.run(scenario())
    assert seqs(items) == [0]
    assert isinstance(items[-1], End)
    assert items[-1].error is not None
    assert items[-1].error.code == "internal"
