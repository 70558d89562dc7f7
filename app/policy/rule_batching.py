"""The two batching rules of source 001, as its articles state them, behind the seam of every batching policy.

Both name a batch size and nothing else. A batch leaves when that many images wait, or when its oldest has waited
`max_wait_s`, in order of arrival: priorities and soft deadlines are not looked at, because the rules do not.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Protocol

from app.policy.batch_policy import Bucket, Cut, Item, checked

FORMULA_CAP: Final = 256
QPS_THRESHOLD: Final = 8000
P99_THRESHOLD_S: Final = 0.015
LARGE, SMALL = 128, 32
"""Source of all: MISSION.md rows 49 and 50."""
SAFE_SHARE: Final = 0.99


def formula_001(p99_rt_ms: float, qps: float) -> int:
    """Images a batch, 1 to 128, as row 49 has it; the 256 is never reached (settled reading 5).

    In milliseconds, because the row is. Above 1000 ms it gives 1. Source: MISSION.md row 49, word for word.
    """
    base = max(1, min(128, int(1000 / max(1, p99_rt_ms)) * (int(qps) // 1000 + 1)))
    return min(FORMULA_CAP, base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`batch` images a batch, and whether connections are shared (otherwise the standard pool)."""

    batch: int
    shares_connections: bool


def state_machine_001(*, qps: float, p99_s: float, before: Setting | None = None, hysteresis: float = 0.0) -> Setting:
    """What row 50 sets: above 8000 requests a second connections are shared; below 15 ms batches of 128, else of 32.

    The row says "> 8000", the article's table ">= 8000": the row is taken. `hysteresis` in [0, 1) widens the second
    threshold both ways from what was set `before`; 0 is the row. Source: MISSION.md row 50, settled reading 6.
    """
    threshold_s = P99_THRESHOLD_S
    if before is not None:
        threshold_s *= 1 + hysteresis if before.batch == LARGE else 1 - hysteresis
    return Setting(batch=LARGE if p99_s < threshold_s else SMALL, shares_connections=qps > QPS_THRESHOLD)


class SizeRule(Protocol):
    """Names a batch size from what was seen in the last window."""

    def __call__(self, *, qps: float, p99_s: float) -> int:
        """Images a batch."""


class FormulaRule:
    """`formula-001`."""

    def __call__(self, *, qps: float, p99_s: float) -> int:
        """Images a batch."""
        return formula_001(1000 * p99_s, qps)


class StateMachineRule:
    """`state-machine-001`, with what it set before."""

    def __init__(self, *, hysteresis: float = 0.0) -> None:
        self._hysteresis = hysteresis
        self.setting: Setting | None = None

    def __call__(self, *, qps: float, p99_s: float) -> int:
        """Images a batch."""
        self.setting = state_machine_001(qps=qps, p99_s=p99_s, before=self.setting, hysteresis=self._hysteresis)
        return self.setting.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleParameters:
    """The rule is asked every `window_s` seconds; a batch gathers for `max_wait_s` at most; its `first` size is this.

    The rows name none of the three. Without the second the last pictures of a burst would wait for ever.
    """

    window_s: float = 1.0
    max_wait_s: float = 0.05
    first: int = SMALL


class RulePolicy:
    """First come, first served, in batches of the size that a rule named. Not thread-safe."""

    def __init__(self, rule: SizeRule, parameters: RuleParameters | None = None) -> None:
        self._rule = rule
        self._parameters = parameters or RuleParameters()
        self._size = self._parameters.first
        self._waiting: dict[Bucket, dict[int, Item]] = {}
        self._bucket_of: dict[int, Bucket] = {}
        self._images: Counter[Bucket] = Counter()
        self._hard: list[tuple[float, int]] = []
        self._seen: list[float] = []  # round trips since the window began
        self._window_began_s: float | None = None
        self._arrived = 0

    @property
    def waiting_images(self) -> int:
        """Images of all that wait."""
        return self._images.total()

    @property
    def batch_size(self) -> int:
        """What the rule named last."""
        return self._size

    def offer(self, item: Item) -> None:
        """Let it wait; ValueError as the protocol says."""
        if checked(item).number in self._bucket_of:
            raise ValueError(f"item {item.number} waits already")
        if self._window_began_s is None:
            self._window_began_s = item.arrived_s
        self._arrived += 1
        self._waiting.setdefault(item.bucket, {})[item.number] = item
        self._bucket_of[item.number] = item.bucket
        self._images[item.bucket] += item.images
        if item.is_hard:
            heappush(self._hard, (item.due_s, item.number))

    def withdraw(self, number: int) -> bool:
        """Forget it; False when it does not wait any more."""
        bucket = self._bucket_of.pop(number, None)
        if bucket is None:
            return False
        self._images[bucket] -= self._waiting[bucket].pop(number).images
        return True

    def displace(self, item: Item) -> Item | None:  # noqa: ARG002  the protocol's
        """None: these rules prefer nobody."""
        return None

    def cut(self, now_s: float) -> Cut:
        """A batch of the rule's size, of the bucket whose oldest waits longest among those that may leave."""
        expired = self._expire(now_s)
        leaves_s: list[tuple[float, Bucket]] = []
        for bucket, held in self._waiting.items():
            if held:
                oldest_s = next(iter(held.values())).arrived_s
                is_full = self._images[bucket] >= min(self._size, bucket.max_batch)
                leaves_s.append((oldest_s if is_full else oldest_s + self._parameters.max_wait_s, bucket))
        if not leaves_s:
            return Cut(expired=expired)
        first_s, bucket = min(leaves_s, key=lambda entry: entry[0])
        if first_s > now_s:
            return Cut(expired=expired, wake_s=first_s)
        batch = self._first_of(bucket)
        for item in batch:
            self.withdraw(item.number)
        return Cut(batch=tuple(batch), expired=expired)

    def observe(self, batch: Sequence[Item], *, started_s: float, ended_s: float) -> None:  # noqa: ARG002  the protocol's
        """Count the round trips, and ask the rule when the window is over."""
        self._seen.extend(ended_s - item.arrived_s for item in batch)
        began_s = self._window_began_s
        if began_s is None or ended_s - began_s < self._parameters.window_s:
            return
        trips_s = sorted(self._seen)
        p99_s = trips_s[math.ceil(SAFE_SHARE * len(trips_s)) - 1]
        self._size = self._rule(qps=self._arrived / (ended_s - began_s), p99_s=p99_s)
        self._window_began_s, self._arrived = ended_s, 0
        self._seen.clear()

    def _expire(self, now_s: float) -> tuple[Item, ...]:
        expired = []
        while self._hard and self._hard[0][0] <= now_s:
            _, number = heappop(self._hard)
            if (bucket := self._bucket_of.get(number)) is not None:
                expired.append(self._waiting[bucket][number])
                self.withdraw(number)
        return tuple(expired)

    def _first_of(self, bucket: Bucket) -> list[Item]:
        limit = min(self._size, bucket.max_batch)
        batch: list[Item] = []
        images = 0
        for item in self._waiting[bucket].values():
            images += item.images
            if batch and images > limit:
                break
            batch.append(item)
        return batch


def formula_policy(parameters: RuleParameters | None = None) -> RulePolicy:
    """The policy `formula-001`."""
    return RulePolicy(FormulaRule(), parameters)


def state_machine_policy(parameters: RuleParameters | None = None, *, hysteresis: float = 0.0) -> RulePolicy:
    """The policy `state-machine-001`."""
    return RulePolicy(StateMachineRule(hysteresis=hysteresis), parameters)
