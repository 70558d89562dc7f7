"""Real owners behind a real connection: each dies with frames open, the next takes over without a word."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.api.stream_pump import PumpLimits
from app.core.errors import UnavailableError
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_host import Offer
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.tracking.parameters import TrackerParameters
from tests.api.live_calls import Call, calling
from tests.api.live_wire import Client, Replica, client, soon
from tests.builders import make_spec
from tests.fakes import FakeChain

ROUNDS = 6
PATIENT = PumpLimits(busy_wait_s=0.2, idle_wait_s=0.2)


class Owners:
    """A StreamHost that asks whoever owns the streams now, again and again, as the handles of a cluster do."""

    def __init__(self) -> None:
        self.chain = FakeChain()
        self._store = MemoryStore()
        self.owner = self._next()

    def _next(self) -> Streams:
        return Streams(
            Surroundings(
                chain=self.chain,
                store=self._store,
                models=FixedModels(make_spec()),
                tracker=TrackerParameters(),
                limits=StreamLimits(),
            )
        )

    async def kill(self) -> None:
        """The owner is gone with all that it had not saved; the next one is there at once."""
        gone, self.owner = self.owner, self._next()
        for stream in gone._streams.values():
            await stream.stop()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def asked(*given: Any, **options: Any) -> Any:
            while True:
                try:
                    return await getattr(self.owner, name)(*given, **options)
                except UnavailableError:
                    await asyncio.sleep(0.01)

        return asked


def last_seq(owners: Owners, stream_id: str) -> int:
    """The newest frame of the owner, without asking it: who is asked takes over."""
    return next((s.status().last_seq for name, s in owners.owner._streams.items() if name == stream_id), -1)


async def rounds(owners: Owners, stream_id: str, there: Client) -> int:
    """Owners that die with four frames open while two more are sent; how many were sent."""
    sent, window = 0, there.credit
    for _ in range(ROUNDS):
        owners.chain.gate.clear()
        for _ in range(4):
            await there.send(sent)
            sent += 1
        await soon(lambda: last_seq(owners, stream_id) == sent - 1)  # noqa: B023  awaited at once
        await owners.kill()
        owners.chain.gate.set()
        for _ in range(2):
            await there.send(sent)  # overtakes those that the owner took with it, if it can
            sent += 1
        await there.results(sent - 1)
        await there.until(lambda: there.credit - sent == window)  # noqa: B023  awaited at once
    return sent


def test_owners_that_die_one_after_the_other_cost_no_frame_and_tell_none_twice() -> None:
    async def inside() -> None:
        owners = Owners()
        async with Replica(host=owners, limits=PATIENT).serving() as replica:
            stream_id = (await owners.open(StreamSpec())).stream_id
            async with client(replica.url, stream_id) as there:
                await there.read()
                sent = await rounds(owners, stream_id, there)
                assert [result["seq"] for result in there.of("FrameResult")] == list(range(sent))
                assert {result["status"] for result in there.of("FrameResult")} == {"result"}
                assert there.of("Gap") == []
                summary = await owners.close(stream_id)
                assert (summary.captured, summary.answered) == (sent, sent)

    asyncio.run(inside())


def test_the_check_sees_frames_that_were_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: owners take whatever comes, whether they know what went before or not."""
    asked = Streams.offer

    async def trusting(self: Streams, stream_id: str, frames: list[Offer], *, after_seq: int = -1) -> Any:
        assert after_seq >= -1
        return await asked(self, stream_id, frames)

    monkeypatch.setattr(Streams, "offer", trusting)
    with pytest.raises(AssertionError):
        test_owners_that_die_one_after_the_other_cost_no_frame_and_tell_none_twice()


def test_the_same_over_a_call_of_many_streams() -> None:
    async def inside() -> None:
        owners = Owners()
        replica = Replica(host=owners, limits=PATIENT)
        async with calling(replica) as channel:
            streams = [(await owners.open(StreamSpec())).stream_id for _ in range(3)]
            call = Call(channel)
            for stream_id in streams:
                await call.greet(stream_id)
            for begin in range(0, 24, 4):
                owners.chain.gate.clear()
                for stream_id in streams:
                    for seq in range(begin, begin + 3):
                        await call.send(stream_id, seq)
                    await soon(lambda: last_seq(owners, stream_id) == begin + 2)  # noqa: B023  awaited at once
                await owners.kill()
                owners.chain.gate.set()
                for stream_id in streams:
                    await call.send(stream_id, begin + 3)
                    await call.until(lambda: begin + 3 in call.seqs(stream_id))  # noqa: B023  awaited at once
            assert [call.seqs(stream_id) for stream_id in streams] == [list(range(24))] * 3

    asyncio.run(inside())
