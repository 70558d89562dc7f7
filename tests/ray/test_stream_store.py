"""What the streams' store must hold to when its actor dies, or another one is alive beside it."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest

from app.core.errors import ConflictError, MovedError, NotFoundError, UnavailableError
from app.core.wire import WireEvent
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_spec_json import spec_text
from app.pipeline.stream_store import StreamState
from deployments.cluster_records import ClusterRecords
from deployments.stream_book import EventRow, StreamBook
from deployments.stream_store import RayStreamStore

pytest_plugins = "tests.ray_fixtures"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("small_cluster")]
SPEC = spec_text(StreamSpec())


def make_state(*, epoch: int = 0, last_seq: int = 0) -> StreamState:
    return StreamState(
        epoch=epoch, last_seq=last_seq, answered=0, dropped={}, errors={}, tracker=b"t", counter={}, state_events=0
    )


def make_events(seqs: Sequence[int]) -> list[WireEvent]:
    return [WireEvent(event_id=f"s:0:{seq}", kind="FrameResult", seq=seq, body=b"{}") for seq in seqs]


async def pid_of(store: RayStreamStore) -> int:
    return await store._book.ask(lambda book: book.__ray_call__.remote(lambda _self: os.getpid()))


async def patiently(call: Any) -> Any:
    """As owners call: again while the store is away."""
    deadline_s = time.monotonic() + 30
    while True:
        try:
            return await call()
        except UnavailableError:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)


def test_a_killed_actor_comes_back_with_terms_specs_and_secret_and_its_owners_make_the_states_whole() -> None:
    async def scenario() -> None:
        store = RayStreamStore(namespace="killed")
        for name in "ba":
            await store.create(name, StreamSpec(label=name))
        lost, kept = await store.claim("a"), await store.claim("b")
        await store.save("a", term=lost.term, state=make_state(epoch=1), events=make_events(range(5)))
        await store.save("b", term=kept.term, state=make_state(epoch=1), events=make_events(range(5)))
        secret = await store.secret()

        pid = await pid_of(store)
        os.kill(pid, signal.SIGKILL)
        save = {"term": kept.term, "state": make_state(epoch=1, last_seq=6), "events": make_events([5, 6])}
        await patiently(lambda: store.save("b", **save))
        assert await pid_of(store) != pid

        assert await store.secret() == secret
        assert await store.streams() == {"b": StreamSpec(label="b"), "a": StreamSpec(label="a")}
        whole = await store.claim("b")
        assert (whole.term, whole.epoch, whole.state) == (kept.term + 1, 1, make_state(epoch=1, last_seq=6))
        assert (list(whole.events), whole.position) == (make_events([5, 6]), kept.position + 5)
        anew = await store.claim("a")
        assert (anew.term, anew.epoch, anew.state, anew.events) == (lost.term + 1, 2, None, ())
        assert anew.position > lost.position + 5
        with pytest.raises(MovedError):
            await store.save("a", term=lost.term, state=make_state(epoch=1), events=[])

    asyncio.run(scenario())


def test_a_save_that_failed_may_be_made_again_and_stands_in_the_log_once() -> None:
    async def scenario() -> None:
        store = RayStreamStore(namespace="shared")
        claim = await store.create("again", StreamSpec())
        await store.save("again", term=1, state=make_state(), events=make_events([0]))
        store._ends["again"] = 1, claim.position  # as it is when the answer to the save was lost
        await store.save("again", term=1, state=make_state(), events=make_events([0]))
        await store.save("again", term=1, state=make_state(last_seq=1), events=make_events([1]))
        again = await store.claim("again")
        assert (list(again.events), again.position) == (make_events([0, 1]), 0)

    asyncio.run(scenario())


def test_an_epoch_that_an_owner_began_outlives_the_book() -> None:
    async def scenario() -> None:
        records = ClusterRecords("epoch")
        book, following = StreamBook(records, 8), StreamBook(records, 8)
        await book.create("a", spec=SPEC)
        await save(book, term=1, epoch=7)
        following.open()
        assert (await following.claim("a"))["epoch"] == 8

    asyncio.run(scenario())


def test_a_state_that_another_version_saved_is_not_taken_up_and_costs_an_epoch() -> None:
    async def scenario() -> None:
        store = RayStreamStore(namespace="shared")
        await store.create("versions", StreamSpec())
        theirs = {**{field.name: getattr(make_state(), field.name) for field in fields(StreamState)}, "of_theirs": 1}
        await store._book.ask(lambda book: book.save.remote("versions", term=1, state=theirs, events=(), position=0))
        claim = await store.claim("versions")
        assert (claim.state, claim.epoch) == (None, 1)

    asyncio.run(scenario())


def test_an_actor_that_is_not_in_charge_any_more_ends_itself() -> None:
    async def scenario() -> None:
        store = RayStreamStore(namespace="shared")
        before = await pid_of(store)
        StreamBook(ClusterRecords("shared"), 8).open()
        deadline_s = time.monotonic() + 30
        while await patiently(lambda: pid_of(store)) == before:
            assert time.monotonic() < deadline_s, "it goes on"
            await asyncio.sleep(0.1)

    asyncio.run(scenario())


def open_books(namespace: str) -> tuple[StreamBook, StreamBook]:
    """Two books alive at once: what happens while a part of the cluster is cut off. The first is not in charge."""
    books = StreamBook(ClusterRecords(namespace), 8), StreamBook(ClusterRecords(namespace), 8)
    for book in books:
        book.open()
    assert [book.is_in_charge() for book in books] == [False, True]
    return books


async def save(book: StreamBook, *, term: int, epoch: int, events: tuple[EventRow, ...] = ()) -> None:
    await book.save("a", term=term, state={"epoch": epoch}, events=events, position=0)


def test_two_books_alive_at_once_never_give_one_term_or_one_epoch_to_two_owners() -> None:
    async def scenario() -> None:
        books = open_books("two")
        await books[0].create("a", spec=SPEC)
        with pytest.raises(ConflictError):
            await books[1].create("a", spec=SPEC)
        given = [await books[turn % 2].claim("a") for turn in (0, 1, 1, 0, 0, 0, 1, 0, 1, 1)]
        given += await asyncio.gather(*(book.claim("a") for book in books * 10))
        terms = [row["term"] for row in given]
        assert len(set(terms)) == len(terms) == 30
        assert len({row["epoch"] for row in given}) == 30
        assert terms[:10] == sorted(terms[:10])
        assert books[0].records._terms("a") == sorted(terms)[-2:]

    asyncio.run(scenario())


def test_a_book_that_was_passed_over_gives_no_state_away() -> None:
    async def scenario() -> None:
        old, new = open_books("passed")
        await old.create("a", spec=SPEC)
        await save(old, term=1, epoch=0)
        theirs = await new.claim("a")
        await save(new, term=theirs["term"], epoch=theirs["epoch"])
        ours = await old.claim("a")
        assert ours["state"] is None
        assert ours["epoch"] > theirs["epoch"]
        assert ours["position"] > theirs["position"]

    asyncio.run(scenario())


def test_events_that_do_not_join_what_is_remembered_take_its_place() -> None:
    async def scenario() -> None:
        book = StreamBook(ClusterRecords("gap"), 8)
        await book.create("a", spec=SPEC)
        rows = [(f"a:{number}", "FrameResult", number, b"") for number in range(4)]
        await book.save("a", term=1, state={"epoch": 0}, events=tuple(rows[:2]), position=0)
        await book.save("a", term=1, state={"epoch": 0}, events=tuple(rows[2:]), position=10)
        claim = await book.claim("a")
        assert (list(claim["events"]), claim["position"]) == (rows[2:], 10)

    asyncio.run(scenario())


def test_a_stream_that_one_book_removed_is_not_brought_back_by_the_other() -> None:
    async def scenario() -> None:
        old, new = open_books("removed")
        await old.create("a", spec=SPEC)
        await new.claim("a")
        await new.remove("a", term=2)
        with pytest.raises(MovedError):
            await old.respecify("a", term=1, spec=SPEC)
        with pytest.raises(MovedError):
            await save(old, term=1, epoch=5)
        with pytest.raises(NotFoundError):
            await old.claim("a")
        assert old.records.streams() == {}

    asyncio.run(scenario())


def test_a_book_that_was_passed_over_neither_respecifies_nor_removes() -> None:
    async def scenario() -> None:
        old, new = open_books("kept")
        await old.create("a", spec=SPEC)
        await new.claim("a")
        with pytest.raises(MovedError):
            await old.respecify("a", term=1, spec="{}")
        with pytest.raises(MovedError):
            await old.remove("a", term=1)
        newest = old.records.newest("a")
        assert newest is not None
        assert (newest.term, newest.spec) == (2, SPEC)

    asyncio.run(scenario())


def test_a_claim_without_the_check_of_its_record_would_be_seen() -> None:
    """The positive control: records that let a term be taken twice."""

    class Careless(ClusterRecords):
        def take(self, stream_id: str, term: Any) -> bool:
            super().take(stream_id, term)
            return True

    async def scenario() -> None:
        books = StreamBook(Careless("careless"), 8), StreamBook(Careless("careless"), 8)
        await books[0].create("a", spec=SPEC)
        books[1].open()
        terms = [(await book.claim("a"))["term"] for book in books]
        assert terms[0] == terms[1]

    asyncio.run(scenario())
