"""A batching policy in virtual time: arrivals, lanes that take d(n) seconds a batch, and what became of everybody."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from app.policy.batch_policy import BatchPolicy, Bucket, Item
from app.policy.latency_fit import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one stream sends: `rate_hz` pictures a second at random moments, each due `slo_s` after it came."""

    stream: str
    rate_hz: float
    bucket: Bucket
    slo_s: float
    priority: int = 5
    images: int = 1
    is_hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one lane took, and when."""

    items: tuple[Item, ...]
    started_s: float
    ended_s: float
    waiting: tuple[Item, ...] = ()
    """Who waited when it was cut, the batch included; only kept when asked for."""

    @property
    def images(self) -> int:
        """Images in it."""
        return sum(item.images for item in self.items)


@dataclass(slots=True)
class Run:
    """All that happened until everybody had left."""

    offered: list[Item]
    batches: list[Batch] = field(default_factory=list)
    expired: list[Item] = field(default_factory=list)
    displaced: list[Item] = field(default_factory=list)
    refused: list[Item] = field(default_factory=list)
    waiting: int = 0
    """Images that waited at the end: 0 unless the policy keeps some for ever."""

    def ended_s(self) -> dict[int, float]:
        """When each served item was done, by its number."""
        return {item.number: batch.ended_s for batch in self.batches for item in batch.items}

    def round_trips_s(self) -> list[float]:
        """One for each offered item, sorted; infinite for who was never served."""
        ended_s = self.ended_s()
        return sorted(ended_s.get(item.number, float("inf")) - item.arrived_s for item in self.offered)

    def on_time(self) -> list[Item]:
        """Who was done by its deadline."""
        ended_s = self.ended_s()
        return [item for item in self.offered if ended_s.get(item.number, float("inf")) <= item.due_s]

    def device_s(self) -> float:
        """Seconds in which a lane was busy, of all lanes together."""
        return sum(batch.ended_s - batch.started_s for batch in self.batches)


def poisson(offers: Sequence[Offer], *, seconds: float, seed: int) -> list[Item]:
    """Arrivals of all streams in `seconds`, in order, numbered from 0."""
    chance = random.Random(seed)
    moments = sorted(
        (at_s, index) for index, offer in enumerate(offers) for at_s in _moments(offer.rate_hz, seconds, chance)
    )
    return [
        Item(
            number=number,
            stream=offers[index].stream,
            images=offers[index].images,
            priority=offers[index].priority,
            due_s=at_s + offers[index].slo_s,
            arrived_s=at_s,
            bucket=offers[index].bucket,
            is_hard=offers[index].is_hard,
        )
        for number, (at_s, index) in enumerate(moments)
    ]


def _moments(rate_hz: float, seconds: float, chance: random.Random) -> Iterator[float]:
    at_s = chance.expovariate(rate_hz)
    while at_s < seconds:
        yield at_s
        at_s += chance.expovariate(rate_hz)


def noisy(engine: Latency, *, seed: int, spread: float = 0.05) -> Callable[[int], float]:
    """Seconds of a batch on that engine, each up to `spread` slower or faster."""
    chance = random.Random(seed)
    return lambda images: engine.seconds(images) * chance.uniform(1 - spread, 1 + spread)


def simulate(
    policy: BatchPolicy,
    arrivals: Sequence[Item],
    *,
    takes_s: Callable[[int], float],
    lanes: int = 1,
    max_images: int = 1 << 20,
    keeps_waiting: bool = False,
) -> Run:
    """Run the policy on these arrivals until nothing waits, or nothing will ever leave.

    `takes_s` gives the seconds of a batch of so many images; a lane asks for its next batch the moment it is free.
    `max_images` may wait. With `keeps_waiting` each batch says who waited, which costs time and memory.
    """
    run = Run(list(arrivals))
    coming = deque(run.offered)
    waiting: dict[int, Item] = {}
    free = lanes
    numbers = count()
    events: list[tuple[float, int, Batch | None]] = []  # lanes that become free, and moments to ask again
    now_s = 0.0
    while coming or events:
        now_s = min(coming[0].arrived_s if coming else float("inf"), events[0][0] if events else float("inf"))
        while coming and coming[0].arrived_s <= now_s:
            _offer(policy, coming.popleft(), run, waiting, max_images=max_images)
        while events and events[0][0] <= now_s:
            _, _, done = heapq.heappop(events)
            if done is not None:
                free += 1
                policy.observe(done.items, started_s=done.started_s, ended_s=done.ended_s)
        while free:
            cut = policy.cut(now_s)
            for item in cut.expired:
                run.expired.append(item)
                waiting.pop(item.number, None)
            if not cut.batch:
                if cut.wake_s is not None:
                    heapq.heappush(events, (max(cut.wake_s, now_s), next(numbers), None))
                break
            images = sum(item.images for item in cut.batch)
            seen = tuple(waiting.values()) if keeps_waiting else ()
            done = Batch(items=cut.batch, started_s=now_s, ended_s=now_s + takes_s(images), waiting=seen)
            for item in cut.batch:
                waiting.pop(item.number, None)
            run.batches.append(done)
            heapq.heappush(events, (done.ended_s, next(numbers), done))
            free -= 1
    run.waiting = sum(item.images for item in waiting.values())
    return run


def _offer(policy: BatchPolicy, item: Item, run: Run, waiting: dict[int, Item], *, max_images: int) -> None:
    while policy.waiting_images + item.images > max_images:
        leaver = policy.displace(item)
        if leaver is None:
            run.refused.append(item)
            return
        run.displaced.append(leaver)
        waiting.pop(leaver.number, None)
    policy.offer(item)
    waiting[item.number] = item
