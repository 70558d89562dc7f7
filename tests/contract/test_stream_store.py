"""One suite for every StreamStore."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

import pytest

from app.core.errors import ConflictError, MovedError, NotFoundError
from app.core.wire import WireEvent
from app.pipeline.memory_store import MemoryStore
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import StreamState, StreamStore

pytest_plugins = "tests.ray_fixtures"
HISTORY = 8
Run: TypeAlias = Callable[[Callable[[StreamStore], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run_in_memory() -> Run:
    def run(scenario: Callable[[StreamStore], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(scenario(MemoryStore(history=HISTORY)))

    return run


@pytest.fixture
def run_in_ray(small_cluster: Any) -> Run:  # noqa: ARG001  it has to run, no more
    from deployments.stream_store import RayStreamStore

    async def empty(store: StreamStore) -> None:
        for stream_id in await store.streams():
            await store.remove(stream_id, term=(await store.claim(stream_id)).term)

    async def on_one_actor(scenario: Callable[[StreamStore], Coroutine[Any, Any, None]]) -> None:
        store = RayStreamStore(history=HISTORY, namespace="contract")
        await empty(store)
        await scenario(store)

    return lambda scenario: asyncio.run(on_one_actor(scenario))


@pytest.fixture(params=["memory", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(300)])])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario with an empty store."""
    return request.getfixturevalue(f"run_in_{request.param}")


def make_state(*, epoch: int = 0, last_seq: int = 0, tracker: bytes | None = b"tracks") -> StreamState:
    return StreamState(
        epoch=epoch,
        last_seq=last_seq,
        answered=last_seq + 1,
        dropped={"mailbox_full": 2},
        errors={},
        tracker=tracker,
        counter={"lines": {"door": {"counts": {"forward": {"person": 3}}}}},
        state_events=1,
    )


def make_events(seqs: Sequence[int]) -> list[WireEvent]:
    return [WireEvent(event_id=f"s:0:{seq}", kind="frame_result", seq=seq, body=b'{"seq":%d}' % seq) for seq in seqs]


def test_a_new_stream_begins_epoch_0_under_term_1_with_nothing_told(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        claim = await store.create("a", StreamSpec(label="gate"))
        assert (claim.term, claim.epoch, claim.state, claim.events, claim.position) == (1, 0, None, (), 0)
        assert claim.spec == StreamSpec(label="gate")

    run(scenario)


def test_the_next_owner_goes_on_from_the_state_and_the_events_that_were_saved(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        first = await store.create("a", StreamSpec())
        await store.save("a", term=first.term, state=make_state(last_seq=0), events=make_events([0]))
        await store.save("a", term=first.term, state=make_state(last_seq=2), events=make_events([1, 2]))
        claim = await store.claim("a")
        assert claim.term > first.term
        assert (claim.epoch, claim.state) == (0, make_state(last_seq=2))
        assert (list(claim.events), claim.position) == (make_events([0, 1, 2]), 0)

    run(scenario)


def test_only_the_newest_term_may_save_respecify_and_remove(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        zombie = await store.create("a", StreamSpec())
        owner = await store.claim("a")
        for term in (zombie.term, owner.term + 1):
            with pytest.raises(MovedError):
                await store.save("a", term=term, state=make_state(), events=make_events([0]))
            with pytest.raises(MovedError):
                await store.respecify("a", term=term, spec=StreamSpec(label="zombie's"))
            with pytest.raises(MovedError):
                await store.remove("a", term=term)
        await store.save("a", term=owner.term, state=make_state(epoch=1, last_seq=5), events=make_events([5]))
        claim = await store.claim("a")
        assert (claim.epoch, claim.spec, claim.state) == (1, StreamSpec(), make_state(epoch=1, last_seq=5))
        assert list(claim.events) == make_events([5])

    run(scenario)


def test_a_claim_that_finds_no_state_has_a_new_epoch_each_time(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        epochs = [(await store.create("a", StreamSpec())).epoch]
        epochs += [(await store.claim("a")).epoch for _ in range(2)]
        assert epochs == [0, 1, 2]

    run(scenario)


def test_an_epoch_that_the_owner_began_is_never_begun_again(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        first = await store.create("a", StreamSpec())
        await store.save("a", term=first.term, state=make_state(epoch=3), events=[])
        assert (await store.claim("a")).epoch == 3

    run(scenario)


def test_of_many_events_the_last_are_kept_with_their_positions(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        first = await store.create("a", StreamSpec())
        for seq in range(3 * HISTORY):
            await store.save("a", term=first.term, state=make_state(last_seq=seq), events=make_events([seq]))
        claim = await store.claim("a")
        assert list(claim.events) == make_events(range(2 * HISTORY, 3 * HISTORY))
        assert claim.position == 2 * HISTORY
        await store.save("a", term=claim.term, state=make_state(), events=make_events(range(100, 100 + 2 * HISTORY)))
        claim = await store.claim("a")
        assert list(claim.events) == make_events(range(100 + HISTORY, 100 + 2 * HISTORY))
        assert claim.position == 4 * HISTORY

    run(scenario)


def test_concurrent_claims_get_different_terms_and_one_of_them_is_the_owner(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        await store.create("a", StreamSpec())
        terms = [claim.term for claim in await asyncio.gather(*(store.claim("a") for _ in range(10)))]
        assert len(set(terms)) == 10
        saves = (store.save("a", term=term, state=make_state(), events=[]) for term in terms)
        refused = [error for error in await asyncio.gather(*saves, return_exceptions=True) if error is not None]
        assert [type(error) for error in refused] == [MovedError] * 9
        await store.save("a", term=max(terms), state=make_state(), events=[])

    run(scenario)


def test_a_save_on_its_way_while_the_stream_is_claimed_does_not_hinder_the_new_owner(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        term, position = (await store.create("a", StreamSpec())).term, 0
        for seq in range(20):
            save = store.save("a", term=term, state=make_state(last_seq=seq), events=make_events([seq]))
            _, claim = await asyncio.gather(save, store.claim("a"))
            assert claim.position + len(claim.events) >= position
            term, position = claim.term, claim.position
        await store.save("a", term=term, state=make_state(), events=[])

    run(scenario)


def test_a_new_spec_reaches_the_next_owner_and_the_list(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        first = await store.create("a", StreamSpec(label="old"))
        await store.respecify("a", term=first.term, spec=StreamSpec(label="new"))
        assert await store.streams() == {"a": StreamSpec(label="new")}
        assert (await store.claim("a")).spec == StreamSpec(label="new")

    run(scenario)


def test_streams_are_listed_in_the_order_of_opening_until_they_are_removed(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        assert await store.streams() == {}
        for name in "cab":
            await store.create(name, StreamSpec(label=name))
        claim = await store.claim("c")
        assert list((await store.streams()).items()) == [(name, StreamSpec(label=name)) for name in "cab"]
        await store.remove("c", term=claim.term)
        assert list(await store.streams()) == ["a", "b"]

    run(scenario)


def test_a_stream_that_was_never_there_or_was_removed_can_be_neither_claimed_nor_saved(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        first = await store.create("gone", StreamSpec())
        await store.remove("gone", term=first.term)
        for name in ("never", "gone"):
            with pytest.raises(NotFoundError):
                await store.claim(name)
            with pytest.raises(MovedError):
                await store.save(name, term=first.term, state=make_state(), events=[])
            with pytest.raises(MovedError):
                await store.respecify(name, term=first.term, spec=StreamSpec())
            with pytest.raises(MovedError):
                await store.remove(name, term=first.term)

    run(scenario)


def test_a_name_is_given_once(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        await store.create("a", StreamSpec())
        with pytest.raises(ConflictError):
            await store.create("a", StreamSpec())
        assert (await store.claim("a")).term == 2

    run(scenario)


def test_streams_do_not_mix(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        for name in ("a", "a/1", "ab"):
            claim = await store.create(name, StreamSpec(label=name))
            await store.save(name, term=claim.term, state=make_state(tracker=name.encode()), events=make_events([0]))
        await store.remove("a", term=1)
        for name in ("a/1", "ab"):
            claim = await store.claim(name)
            assert (claim.term, claim.spec, claim.state) == (
                2,
                StreamSpec(label=name),
                make_state(tracker=name.encode()),
            )

    run(scenario)


def test_the_secret_is_32_bytes_and_the_same_for_everybody(run: Run) -> None:
    async def scenario(store: StreamStore) -> None:
        secrets = await asyncio.gather(*(store.secret() for _ in range(5)))
        assert len(set(secrets)) == 1
        assert len(secrets[0]) == 32

    run(scenario)
