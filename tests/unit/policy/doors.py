"""A service in virtual time: callers who come by themselves, a door, a batcher, and lanes that each take a frame."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import exp
from random import Random

from app.policy.batching import BatchLimits, frames_to_take, is_admitted
from app.policy.door import Line, Pace, is_worth_it

SLO_S = 0.25
EACH_S = 0.04
SPREAD = 0.2
LANES = 2
CAPACITY_HZ = LANES / (EACH_S * exp(SPREAD**2 / 2))
LIMITS = BatchLimits(max_wait_s=0.2)
Door = Callable[[int, Pace], bool]


def by_count(ahead: int, _pace: Pace) -> bool:
    """The rule that counts frames and not seconds; those that are under way it does not count."""
    return is_admitted(waiting=max(0, ahead - LIMITS.max_batch * LIMITS.max_in_flight), limits=LIMITS)


def by_wait(ahead: int, pace: Pace) -> bool:
    """The rule for callers without a deadline."""
    line = Line(ahead=ahead, others=ahead)
    return by_count(ahead, pace) and is_worth_it(line, left_s=None, each_s=pace.each_s, limits=LIMITS)


def by_deadline(ahead: int, pace: Pace) -> bool:
    """The rule for callers who say when the answer is worth nothing any more."""
    line = Line(ahead=ahead, others=ahead)
    return by_count(ahead, pace) and is_worth_it(line, left_s=SLO_S, each_s=pace.each_s, limits=LIMITS)


@dataclass
class Service:
    """What one load made of it; `slower` times as long every frame takes from `slower_from_s` on."""

    door: Door
    random: Random
    slower: float = 1.0
    slower_from_s: float = 0.0
    pace: Pace = field(default_factory=Pace)
    latencies_s: list[float] = field(default_factory=list)
    refused: int = 0
    _waiting: list[tuple[float, int]] = field(default_factory=list)
    _batches: list[tuple[float, int, list[tuple[float, int]]]] = field(default_factory=list)
    _free_s: list[float] = field(default_factory=lambda: [0.0] * LANES)
    _numbers: Iterator[int] = field(default_factory=count)

    def meet(self, factor: float, *, seconds: float) -> None:
        """Independent callers at `factor` times what it can do."""
        now_s = 0.0
        while (now_s := now_s + self.random.expovariate(factor * CAPACITY_HZ)) < seconds:
            self._pass_to(now_s)
            ahead = len(self._waiting) + sum(len(batch) for _, _, batch in self._batches)
            if self.door(ahead, self.pace):
                self._waiting.append((now_s, ahead + 1))
                self._dispatch(now_s)
            else:
                self.refused += 1
        self._pass_to(float("inf"))

    def goodput(self, *, seconds: float) -> float:
        """Answers within the SLO ÷ what it can do in that time."""
        return sum(latency_s <= SLO_S for latency_s in self.latencies_s) / (CAPACITY_HZ * seconds)

    def _pass_to(self, now_s: float) -> None:
        while self._batches and self._batches[0][0] <= now_s:
            ended_s, _, batch = heappop(self._batches)
            self.latencies_s += [ended_s - arrived_s for arrived_s, _ in batch]
            arrived_s, place = batch[0]
            self.pace.observe(place, ended_s - arrived_s)
            self._dispatch(ended_s)

    def _dispatch(self, now_s: float) -> None:
        while take := frames_to_take(waiting=len(self._waiting), in_flight=len(self._batches), limits=LIMITS):
            batch, self._waiting = self._waiting[:take], self._waiting[take:]
            heappush(self._batches, (max(self._run(now_s) for _ in batch), next(self._numbers), batch))

    def _run(self, now_s: float) -> float:
        start_s = max(now_s, heappop(self._free_s))
        took_s = (
            EACH_S * self.random.lognormvariate(0.0, SPREAD) * (self.slower if start_s >= self.slower_from_s else 1.0)
        )
        heappush(self._free_s, start_s + took_s)
        return start_s + took_s
