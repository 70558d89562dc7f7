"""Events and sinks for the tests of deliveries, and a destination that does what it is told."""

import asyncio
import json
from collections.abc import Callable

from app.core.wire import WireEvent
from app.delivery.carrier import Failure, Parcel, Receipt
from app.delivery.outbox_rows import Lane
from app.delivery.sinks import Mqtt, Sink, text_of

SINK = Mqtt(broker="site", topic="events")
OTHER_SINK = Mqtt(broker="site", topic="others")


def event(stream_id: str, seq: int, *, size: int = 100) -> WireEvent:
    event_id = f"{stream_id}:0:{seq}"
    body = json.dumps({"event_id": event_id, "filler": ""}).encode()
    body = body[:-2] + b"x" * (size - len(body)) + body[-2:]
    return WireEvent(event_id=event_id, kind="frame_result", seq=seq, body=body)


def events(stream_id: str, *seqs: int, size: int = 100) -> list[WireEvent]:
    return [event(stream_id, seq, size=size) for seq in seqs]


def lane(stream_id: str = "s", sink: Sink = SINK) -> Lane:
    return Lane(stream_id=stream_id, sink=text_of(sink))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what other tasks and threads do; the test's own time-out ends it."""
    while not is_so():  # noqa: ASYNC110 - whatever makes it so is real code, which has no event to wait for
        await asyncio.sleep(0.001)


class FakeCarrier:
    """Takes everything, unless `answers` says otherwise of a parcel; `gate` holds parcels back until it is set."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.taken: list[str] = []
        self.answers: Callable[[Parcel], tuple[int, Failure | None]] = lambda parcel: (len(parcel.events), None)
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0
        self.closed = 0

    async def deliver(self, parcel: Parcel) -> Receipt:
        self.parcels.append(parcel)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        taken, failure = self.answers(parcel)
        self.taken += [told.event_id for told in parcel.events[:taken]]
        return Receipt(taken=taken, failure=failure)

    async def close(self) -> None:
        self.closed += 1
