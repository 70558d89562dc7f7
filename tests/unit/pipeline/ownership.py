"""A live stream with everything that may happen to its owners, and a checker who sees what a consumer sees."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.core.errors import MovedError, NotFoundError, UnavailableError
from app.core.frame import Detections, EncodedFrame, Frame
from app.core.outcome import Outcome
from app.core.video import FrameMode, VideoSpec
from app.core.wire import WireEvent
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_host import Offer, StreamStatus
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.tracking.parameters import TrackerParameters
from tests.builders import make_detections, make_spec

LIMITS = StreamLimits(depth=4, batch=2, batch_s=5.0, history=100_000, idle_s=1e9)
TURNS = 4


def where(seq: int) -> float:
    """The left edge of the one object of a frame: it says which frame this is, and moves slowly."""
    return 100.0 + (seq % 1000) * 0.5


class SlowChain:
    """Finds one object, whose place names the frame, after a random while; parts of it may be gone."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.is_gone = False

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        for _ in range(self._chance.randrange(TURNS)):
            await asyncio.sleep(0)
        if self.is_gone:
            raise UnavailableError
        return [
            make_detections([[where(frame.ref.seq), 20, where(frame.ref.seq) + 60, 140]], ref=frame.ref)
            for frame in frames
        ]

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        raise NotImplementedError(frames)


@dataclass
class Consumer:
    """What comes out must be each frame once, in order, and the frame that it says it is."""

    told: dict[int, bytes] = field(default_factory=dict)
    last_seq: int = -1
    buckets: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)

    def read(self, events: Sequence[WireEvent]) -> None:
        for event in events:
            assert event.event_id not in self.ids, "an event came twice"
            self.ids.add(event.event_id)
            if event.kind == "FrameResult":
                self._result(event)

    def _result(self, event: WireEvent) -> None:
        result: dict[str, Any] = json.loads(event.body)
        assert event.seq == result["seq"] > self.last_seq, "a frame came twice or out of order"
        self.last_seq = event.seq
        self.told[event.seq] = event.body
        self.buckets[result["status"]] += 1
        if result["status"] == "result":
            assert result["objects"][0]["box"][0] == np.float32(where(event.seq)), "the answer of another frame"

    def balance(self, status: StreamStatus) -> None:
        account = status.summary
        dropped, errors = sum(account.dropped.values()), sum(account.errors.values())
        assert account.captured == account.answered + dropped + errors + account.in_flight, "a frame is unaccounted for"


class World:
    """One stream, its sender, its reader, its owner, and owners that were declared dead and go on working."""

    def __init__(
        self,
        seed: int,
        mode: FrameMode,
        *,
        store: type[MemoryStore] = MemoryStore,
        chain: type[SlowChain] = SlowChain,
    ) -> None:
        self.chance = random.Random(seed)
        self.chain = chain(self.chance)
        self.store = store(history=LIMITS.history)
        self.owner = self._new_owner()
        self.ghosts: list[Streams] = []
        self.consumer = Consumer()
        self.sent: dict[int, Offer] = {}  # frames whose end was not seen: the sender keeps them
        self.seq = -1
        self.position = 0
        self.kills = 0
        self.haunted = 0
        fps = 10.0 if mode is FrameMode.TARGET_FPS else None
        self.spec = StreamSpec(video=VideoSpec(mode=mode, fps=fps))

    def _new_owner(self) -> Streams:
        return Streams(
            Surroundings(
                chain=self.chain,
                store=self.store,
                models=FixedModels(make_spec()),
                tracker=TrackerParameters(),
                limits=LIMITS,
            )
        )

    async def begin(self) -> None:
        self.stream_id = (await self.owner.open(self.spec)).stream_id

    async def capture(self) -> None:
        if len(self.sent) > LIMITS.depth * 3:
            return
        self.seq += self.chance.choice((1, 1, 1, 2, 40))
        offer = Offer(data=b"jpeg", seq=self.seq, captured_at=1.7e9 + self.seq / 30)
        self.sent[self.seq] = offer
        await self.owner.offer(self.stream_id, [offer])

    async def send_again(self) -> None:
        await self.owner.offer(self.stream_id, list(self.sent.values()))

    async def read(self) -> None:
        batch = await self.owner.events(self.stream_id, position=self.position, wait_s=0)
        self.position = batch.position
        self.consumer.read(batch.events)
        for seq in [seq for seq in self.sent if seq <= self.consumer.last_seq]:
            del self.sent[seq]
        self.consumer.balance(await self.owner.show(self.stream_id))

    async def kill(self, *, is_ghost: bool) -> None:
        """The process ends, or is only thought to; its successor gets all frames again that have no end."""
        self.kills += 1
        old, self.owner = self.owner, self._new_owner()
        if is_ghost:
            self.ghosts.append(old)
            self.ghosts = self.ghosts[-3:]
        else:
            await old.stop()
        await self.send_again()

    async def haunt(self) -> None:
        """Somebody still talks to an owner of yesterday: it may not tell him anything that was not told."""
        for ghost in self.ghosts:
            if (stream := ghost._streams.get(self.stream_id)) is not None:
                self.haunted += 1
                try:
                    stream.offer([Offer(data=b"ghost", seq=self.seq + 1)])
                    batch = await stream.events(0, wait_s=0)
                except (MovedError, NotFoundError):
                    continue
                mine = {event.event_id: event.body for event in self.store._streams[self.stream_id].events}
                for event in batch.events:
                    assert mine.get(event.event_id) == event.body, "a ghost told something of its own"

    async def step(self) -> None:
        match self.chance.choices(range(7), weights=[40, 5, 20, 30, 0.4, 2, 2])[0]:
            case 0:
                await self.capture()
            case 1:
                await self.send_again()
            case 2:
                await self.read()
            case 3:
                await asyncio.sleep(0)
            case 4:
                await self.kill(is_ghost=self.chance.random() < 0.5)
            case 5:
                await self.haunt()
            case _:
                self.chain.is_gone = False

    async def end(self) -> dict[str, Any]:
        for _ in range(10_000):
            await asyncio.sleep(0)
            await self.read()
        assert not self.sent, "a frame has no end"
        account = await self.owner.close(self.stream_id)
        assert account.captured == len(self.consumer.told), "a frame was lost"
        assert account.in_flight == 0
        for ghost in (*self.ghosts, self.owner):
            await ghost.stop()
        return {"answered": account.answered, **account.dropped}


def live(seed: int, mode: FrameMode, *, events: int, **kinds: Any) -> World:
    """A world in which `events` random things have happened, brought to its end."""

    async def scenario() -> World:
        world = World(seed, mode, **kinds)
        await world.begin()
        for _ in range(events):
            await world.step()
        await world.end()
        return world

    return asyncio.run(scenario())
