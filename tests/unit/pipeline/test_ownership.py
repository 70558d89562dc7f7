"""One owner at a time: nothing lost, twice, out of order or told by a ghost, whoever dies and whoever only seems to."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.analytics.geometry import Polygon, Segment
from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.errors import MovedError
from app.core.frame import Detections, EncodedFrame
from app.core.outcome import Outcome
from app.core.video import FrameMode
from app.core.wire import WireEvent
from app.pipeline.memory_store import MemoryStore
from app.pipeline.stream_host import Offer
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import Claim, StreamState
from tests.builders import make_detections
from tests.unit.pipeline.ownership import SlowChain, World, live


@pytest.mark.parametrize("mode", list(FrameMode))
def test_every_frame_ends_once_through_kills_and_ghosts(mode: FrameMode) -> None:
    world = live(20261123, mode, events=10_000)
    assert world.kills > 20
    assert world.haunted > 20
    assert len(world.consumer.told) > 500
    assert world.consumer.buckets["result"] > 300


class Unfenced(MemoryStore):
    """Whoever wants to may save."""

    def _owned(self, stream_id: str, *, term: int) -> Any:
        del term
        return self._streams[stream_id]


class Forgetful(MemoryStore):
    """A new owner begins anew, and does not say so."""

    async def claim(self, stream_id: str) -> Claim:
        return replace(await super().claim(stream_id), state=None)


class Loses(MemoryStore):
    """Now and then the state is kept and the events are not."""

    async def save(self, stream_id: str, *, term: int, state: StreamState, events: Sequence[WireEvent]) -> None:
        kept = events if state.last_seq % 10 else events[1:]
        await super().save(stream_id, term=term, state=state, events=kept)


class Swaps(SlowChain):
    """Two frames of a batch get each other's answer."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        found = [item for item in await super().detect(frames) if isinstance(item, Detections)]
        return [replace(other, ref=own.ref) for own, other in zip(found, found[::-1], strict=True)]


@pytest.mark.parametrize("fault", [{"store": Unfenced}, {"store": Forgetful}, {"store": Loses}, {"chain": Swaps}])
def test_a_planted_fault_is_caught(fault: dict[str, type]) -> None:
    with pytest.raises(AssertionError):
        live(20261123, FrameMode.EVERY_FRAME, events=20_000, **fault)


def test_a_takeover_changes_no_result_no_identity_and_no_count() -> None:
    undisturbed, disturbed = crossings(kill_every=0), crossings(kill_every=7)
    assert disturbed == undisturbed
    kinds = Counter(event["schema"].rsplit(".", 1)[-1] for event in undisturbed)
    assert (kinds["FrameResult"], kinds["LineCrossed"], kinds["ZoneEntered"]) == (60, 2, 2)


def test_tracks_that_cannot_be_taken_up_cost_an_epoch_and_no_count() -> None:
    events = crossings(kill_every=25, store=Amnesic)
    results = [event for event in events if event["schema"].endswith("FrameResult")]
    assert [result["seq"] for result in results] == list(range(60))
    assert [result["epoch"] for result in results] == sorted(result["epoch"] for result in results)
    assert results[-1]["epoch"] == 2
    ids = {
        (result["epoch"], found["track_id"]) for result in results for found in result["objects"] if "track_id" in found
    }
    assert len({track_id for _, track_id in ids}) == len(ids)  # no identity came again in another epoch


class Amnesic(MemoryStore):
    """What it kept of the tracks is broken."""

    async def claim(self, stream_id: str) -> Claim:
        claim = await super().claim(stream_id)
        return replace(claim, state=replace(claim.state, tracker=b"broken") if claim.state else None)


class Passers(SlowChain):
    """Two people who walk through the picture in 60 frames."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        await asyncio.sleep(0)
        return [
            make_detections(
                [
                    [30 * frame.ref.seq, 100, 30 * frame.ref.seq + 80, 300],
                    [900, 10 * frame.ref.seq, 980, 200 + 10 * frame.ref.seq],
                ],
                ref=frame.ref,
            )
            for frame in frames
        ]


def crossings(*, kill_every: int, store: type[MemoryStore] = MemoryStore) -> list[dict[str, Any]]:
    """All that is told of 60 frames, without times of work and states, with an owner killed every so many frames."""
    lines = (
        Line(name="across", segment=Segment(start=(0.5, 0.0), end=(0.5, 1.0))),
        Line(name="along", segment=Segment(start=(0.0, 0.5), end=(1.0, 0.5))),
    )
    zones = (Zone(name="all", polygon=Polygon(corners=((0, 0), (1, 0), (1, 1), (0, 1)))),)

    async def scenario() -> list[dict[str, Any]]:
        world = World(1, FrameMode.EVERY_FRAME, store=store, chain=Passers)
        world.spec = StreamSpec(lines=lines, zones=zones)
        await world.begin()
        for seq in range(60):
            await world.owner.push(world.stream_id, Offer(data=b"jpeg", seq=seq, captured_at=1.7e9 + seq / 10))
            if kill_every and seq % kill_every == kill_every - 1:
                await world.kill(is_ghost=seq % 2 == 0)
        events, position, more = [], 0, True
        while more:
            batch = await world.owner.events(world.stream_id, position=position, wait_s=0)
            events, position, more = [*events, *batch.events], batch.position, bool(batch.events)
        for owner in (*world.ghosts, world.owner):
            await owner.stop()
        told = [json.loads(event.body) for event in events]
        for event in told:
            event.pop("timings", None)
            event["event_id"] = event["event_id"].replace(world.stream_id, "")
            event["stream_id"] = ""
        return [event for event in told if not event["schema"].endswith("StreamState")]

    return asyncio.run(scenario())


class Nonsense(SlowChain):
    """Every third frame has a box that is no number."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        await asyncio.sleep(0)
        edges = [float("nan") if frame.ref.seq % 3 == 1 else 10.0 for frame in frames]
        return [
            make_detections([[edge, 100, 200, 300]], ref=frame.ref) for edge, frame in zip(edges, frames, strict=True)
        ]


def test_a_result_that_cannot_be_written_is_an_error_of_its_frame_alone() -> None:
    async def scenario() -> list[str]:
        world = World(1, FrameMode.EVERY_FRAME, chain=Nonsense)
        await world.begin()
        ends = [
            json.loads((await world.owner.push(world.stream_id, Offer(data=b"jpeg", seq=seq))).body) for seq in range(6)
        ]
        account = (await world.owner.show(world.stream_id)).summary
        assert (account.answered, account.errors) == (4, {"internal": 2})
        await world.owner.stop()
        return [end.get("reason", end["status"]) for end in ends]

    assert asyncio.run(scenario()) == ["result", "internal", "result", "result", "internal", "result"]


class Breaks(MemoryStore):
    """Its first save fails in a way that nobody thought of."""

    saves = 0

    async def save(self, stream_id: str, *, term: int, state: StreamState, events: Sequence[WireEvent]) -> None:
        self.saves += 1
        if self.saves == 2:
            raise RuntimeError("broken")
        await super().save(stream_id, term=term, state=state, events=events)


def test_an_owner_that_cannot_save_gives_the_stream_up_and_the_next_claim_goes_on() -> None:
    async def scenario() -> list[int]:
        world = World(1, FrameMode.EVERY_FRAME, store=Breaks, chain=Passers)
        await world.begin()
        await asyncio.sleep(0.01)
        with pytest.raises(MovedError):
            await world.owner.push(world.stream_id, Offer(data=b"jpeg", seq=0))
        ends = [await world.owner.push(world.stream_id, Offer(data=b"jpeg", seq=seq)) for seq in range(3)]
        await world.owner.stop()
        return [end.seq for end in ends]

    assert asyncio.run(scenario()) == [0, 1, 2]
