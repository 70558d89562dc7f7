"""Scenario `outbox`: a broker that is down for 10 minutes of virtual time while 1,000 events a second are told.

The outbox is the real one, on the real disk; the clock and the broker are not. The broker takes nothing while it is
down. Before and after, one parcel in five breaks off in the middle, its answer lost: so events come twice, and must
do so under their own ids. Real are the rates: events put on disk a second, with the waiting for the disk, and events
delivered a second once the broker is back.
"""

import asyncio
import heapq
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.core.wire import WireEvent
from app.delivery.carrier import Carrier, Parcel, Receipt, Unreachable
from app.delivery.deliveries import Deliveries
from app.delivery.parameters import DeliveryParameters
from app.delivery.sinks import Mqtt
from load_tests.evidence import publish

STREAMS, EVENTS_PER_S, BODY_BYTES = 50, 1000, 1500
BEFORE_S, OUTAGE_S, AFTER_S = 10, 600, 10
STEP_S = 1.0
BROKEN_OFF = 0.2
MIN_EVENTS_PER_S = 1000.0
SINK = Mqtt(broker="broker", topic="events")


class VirtualTime:
    """Seconds that pass when `advance` says so, and then wake who sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        """The time now."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Sleep through virtual time."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now_s + seconds, self._count, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now_s:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
        await asyncio.sleep(0)


class Broker:
    """The other side: remembers how often each id came, its first body, and the order of each stream's first comings.

    `loses` is a fault for the checker to find: acknowledged and thrown away.
    """

    def __init__(
        self, virtual: VirtualTime, *, down_s: tuple[float, float], loses: frozenset[str] = frozenset()
    ) -> None:
        self._virtual = virtual
        self._down_s = down_s
        self._loses = loses
        self._random = random.Random(5)
        self.came: Counter[str] = Counter()
        self.seqs: dict[str, list[int]] = {}
        self.changed = 0
        self.tried_while_down = 0

    @property
    def is_down(self) -> bool:
        """Whether it takes nothing now."""
        return self._down_s[0] <= self._virtual.now_s < self._down_s[1]

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Take the events, or the first of them; the answer may be lost with some that were taken."""
        await asyncio.sleep(0)
        if self.is_down:
            self.tried_while_down += 1
            return Receipt(taken=0, failure=Unreachable())
        is_broken_off = self._random.random() < BROKEN_OFF
        taken = self._random.randint(0, len(parcel.events)) if is_broken_off else len(parcel.events)
        for event in parcel.events[:taken]:
            self._take(parcel.stream_id, event)
        if is_broken_off:
            return Receipt(taken=self._random.randint(0, taken), failure=Unreachable())
        return Receipt(taken=taken)

    def _take(self, stream_id: str, event: WireEvent) -> None:
        if event.event_id in self._loses:
            return
        self.came[event.event_id] += 1
        self.changed += json.loads(event.body[:-BODY_BYTES])["event_id"] != event.event_id
        if self.came[event.event_id] == 1:
            self.seqs.setdefault(stream_id, []).append(event.seq)

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the events: `duplicated` came again under their own id; `strange` were never told, or changed."""

    told: int
    lost: int
    duplicated: int
    strange: int
    disordered_streams: int
    dead: int
    tried_while_down: int
    put_per_s: float
    delivered_per_s: float
    peak_bytes: int
    slowest_put_s: float


def event_of(stream_id: str, seq: int) -> WireEvent:
    """An event as large as a frame's result with about ten objects; its head says who it is."""
    event_id = f"{stream_id}:0:{seq}"
    body = json.dumps({"event_id": event_id}).encode() + b" " * BODY_BYTES
    return WireEvent(event_id=event_id, kind="frame_result", seq=seq, body=body)


def size_bytes(folder: Path) -> int:
    """What the files of a folder take."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def simulate(
    folder: Path, *, before_s: int, outage_s: int, after_s: int, loses: frozenset[str] = frozenset()
) -> Account:
    """Tell events at the full rate through an outage, deliver all of them, and count."""
    virtual = VirtualTime()
    broker = Broker(virtual, down_s=(float(before_s), float(before_s + outage_s)), loses=loses)

    def opened(_: object) -> Carrier:
        return broker

    jitter = random.Random(7).random
    deliveries = Deliveries(
        DeliveryParameters(folder=folder), open_carrier=opened, clock=virtual, sleep=virtual.sleep, jitter=jitter
    )
    await deliveries.start()
    streams = [f"{index:032x}" for index in range(STREAMS)]
    each = int(EVENTS_PER_S * STEP_S) // STREAMS
    put_s = slowest_s = 0.0
    peak_bytes = 0
    for second in range(before_s + outage_s + after_s):
        told = [[event_of(stream, second * each + index) for index in range(each)] for stream in streams]
        start_s = time.perf_counter()
        # Each stream puts what it has to tell by itself, all of them at once.
        await asyncio.gather(
            *(deliveries.put(stream, [SINK], events) for stream, events in zip(streams, told, strict=True))
        )
        slowest_s = max(slowest_s, time.perf_counter() - start_s)
        put_s += time.perf_counter() - start_s
        await virtual.advance(STEP_S)
        if second == before_s + outage_s - 1:
            peak_bytes = await asyncio.to_thread(size_bytes, folder)
    waiting = (await deliveries.stats())[SINK].waiting
    start_s = time.perf_counter()
    settled = asyncio.create_task(deliveries.settle())
    while not settled.done():
        await asyncio.wait({settled}, timeout=0.005)
        await virtual.advance(STEP_S)
    drained_s = time.perf_counter() - start_s
    stats = (await deliveries.stats())[SINK]
    await deliveries.close(1.0)
    expected = {f"{stream}:0:{seq}" for stream in streams for seq in range((before_s + outage_s + after_s) * each)}
    return Account(
        told=len(expected),
        lost=len(expected - broker.came.keys()),
        duplicated=sum(broker.came.values()) - len(broker.came),
        strange=len(broker.came.keys() - expected) + broker.changed,
        disordered_streams=sum(seqs != sorted(seqs) for seqs in broker.seqs.values()),
        dead=sum(stats.dead.values()),
        tried_while_down=broker.tried_while_down,
        put_per_s=len(expected) / put_s,
        delivered_per_s=waiting / drained_s,
        peak_bytes=peak_bytes,
        slowest_put_s=slowest_s,
    )


def main() -> int:
    """Run the scenario; 1 if a figure misses its mark."""
    with TemporaryDirectory() as name:
        account = asyncio.run(simulate(Path(name), before_s=BEFORE_S, outage_s=OUTAGE_S, after_s=AFTER_S))
    figures = {
        "outbox_lost": account.lost,
        "outbox_strange": account.strange,
        "outbox_disordered_streams": account.disordered_streams,
        "outbox_dead": account.dead,
        "outbox_put_per_s": account.put_per_s,
        "outbox_delivered_per_s": account.delivered_per_s,
    }
    publish(
        "outbox",
        figures,
        told=account.told,
        duplicated_under_their_own_id=account.duplicated,
        tried_while_down=account.tried_while_down,
        peak_bytes=account.peak_bytes,
        slowest_put_s=account.slowest_put_s,
        body_bytes=BODY_BYTES,
        outage_s=OUTAGE_S,
        streams=STREAMS,
    )
    is_whole = account.lost == account.strange == account.disordered_streams == account.dead == 0
    is_quick = min(account.put_per_s, account.delivered_per_s) >= MIN_EVENTS_PER_S
    return int(not (is_whole and is_quick))


if __name__ == "__main__":
    sys.exit(main())
