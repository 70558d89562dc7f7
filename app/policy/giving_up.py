"""Which of those who wait cannot all be on time, the least important first."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from app.core.routing import MAX_PRIORITY
from app.policy.batch_policy import Bucket, Item
from app.policy.latency_fit import Latency, LatencyFit

ROUNDING_S: Final = 1e-9
"""Deadlines are missed by more than this, or the same sum taken in two orders would miss by the last digit."""


class Shape:
    """A bucket, and what an engine of `lanes` lanes takes for its pictures in batches of usually `usual` images."""

    def __init__(self, bucket: Bucket, *, prior: Latency, lanes: int, usual: int) -> None:
        self.bucket = bucket
        self.fit = LatencyFit(prior)
        self.lanes = lanes
        self.usual = usual
        self.timely = 0
        """Images that wait and are not given up."""
        self.late: list[tuple[int, int]] = []
        """Those given up, as (-priority, number), sorted."""
        self.learned()

    def learned(self) -> None:
        """Take over what the fit knows now."""
        self.share_s = self.fit.seconds(self.usual) / self.usual / self.lanes
        self.image_s = self.share_s * self.fit.tail
        self.one_s = self.fit.safe_seconds(1)


class Queued(NamedTuple):
    """An item in its place: `virtual_s` is its deadline, put off where its stream takes more than its share."""

    virtual_s: float
    number: int
    item: Item
    charged_s: float
    shape: Shape


class _Line:
    """When everybody in line is done, if the first batch has `first` images of `head` and the others are full.

    All of a batch are done at its end. Were they thought to be done one after the other, the first of the next batch
    would be promised what only a small batch can hold, and under load each batch would be smaller than the one before.
    Pictures of other buckets are spread between the batches.
    """

    def __init__(self, order: Sequence[Queued], *, first: int, now_s: float) -> None:
        head = order[0].shape
        first_s = head.fit.safe_seconds(first)
        full_s = head.image_s * head.usual  # between the ends of two full batches, of all lanes
        fulls, rest = divmod(max(0, head.timely - first), head.usual)
        next_s = now_s - ROUNDING_S + first_s / head.lanes
        whole_s = head.fit.safe_seconds(head.usual)
        self.head = head
        self.first = first
        self.next_s = next_s
        self.ends_s = [now_s - ROUNDING_S + first_s, *(next_s + index * full_s + whole_s for index in range(fulls))]
        self.ends_s.append(next_s + fulls * full_s + head.fit.safe_seconds(max(1, rest)))
        self.images = 0
        self.others_s = 0.0

    def add(self, queued: Queued, *, times: int = 1) -> None:
        """One more in line, or with `times` = -1 one less."""
        if queued.shape is self.head:
            self.images += times * queued.item.images
        else:
            self.others_s += times * queued.item.images * queued.shape.image_s

    def end_s(self, shape: Shape) -> float:
        """When the last in line is done, `shape` being its own."""
        if shape is self.head:
            batch = max(0, (self.images - 1 - self.first) // shape.usual + 1)
            return self.ends_s[batch] + (self.others_s if batch else 0.0)
        behind = max(0, self.images - self.first)
        return self.next_s + behind * self.head.image_s + self.others_s + shape.one_s


def given_up(order: Sequence[Queued], *, first: int, now_s: float, is_mixed: bool) -> list[Queued]:
    """Whom to leave out so that the others are on time: of the lowest priority, the largest, the last in order.

    `order` is who waits and is not given up, in the order of service; `first` images go into the first batch;
    `is_mixed` says that they are of several shapes. Among pictures of one size and shape no choice keeps more of the
    highest priority, then of the next, and so on.

    Source: Moore, An n job, one machine sequencing algorithm for minimizing the number of late jobs, Management
    Science 15 (1968), with Hodgson's form: go along the deadlines, and where one is missed leave out the largest so
    far. For jobs of equal size and unequal weight the lightest so far is the one: Lawler, Combinatorial Optimization
    (1976), section 7.5, unit-time scheduling as a matroid.
    """
    line = _Line(order, first=first, now_s=now_s)
    if is_mixed:
        return _given_up(line, order)
    begin = _on_time(line, order)
    if begin == len(order):
        return []
    return _singles_given_up(line, order, begin) if line.head.timely == len(order) else _given_up(line, order)


def _on_time(line: _Line, order: Sequence[Queued]) -> int:
    """How many are before one is late, all being of one shape. Written out, because every cut goes over all of them."""
    ends_s, usual = line.ends_s, line.head.usual
    behind = -1 - line.first
    for index, (_, _, item, _, _) in enumerate(order):
        behind += item.images
        if ends_s[behind // usual + 1 if behind >= 0 else 0] > item.due_s:
            return index
    return len(order)


def _singles_given_up(line: _Line, order: Sequence[Queued], begin: int) -> list[Queued]:
    """The same for one image each, the first `begin` being on time: mostly one leaves for each that is late."""
    ends_s, usual = line.ends_s, line.head.usual
    behind = begin - 1 - line.first
    kept: list[list[Queued]] = [[] for _ in range(MAX_PRIORITY + 1)]
    out: list[Queued] = []
    for queued in order[:begin]:
        kept[queued[2].priority].append(queued)
    for queued in order[begin:]:
        item = queued[2]
        if item.due_s < ends_s[0]:
            out.append(queued)  # whoever else leaves
            continue
        kept[item.priority].append(queued)
        behind += 1
        left: list[Queued] = []
        while ends_s[behind // usual + 1 if behind >= 0 else 0] > item.due_s:
            behind -= 1
            left.append(next(rank for rank in kept if rank).pop())
            if left[-1] is queued:  # it is late even so, and the less important stay
                for other in reversed(left[:-1]):
                    kept[other[2].priority].append(other)
                behind += len(left) - 1
                left = [queued]
                break
        out += left
    return out


def _given_up(line: _Line, order: Sequence[Queued]) -> list[Queued]:
    """The same for any sizes and shapes."""
    kept: list[list[tuple[int, int, Queued]]] = [[] for _ in range(MAX_PRIORITY + 1)]
    out: list[Queued] = []
    for place, queued in enumerate(order):
        due_s = queued.item.due_s
        if due_s < (line.ends_s[0] if queued.shape is line.head else line.next_s):
            out.append(queued)
            continue
        line.add(queued)
        heappush(kept[queued.item.priority], (-queued.item.images, -place, queued))
        if line.end_s(queued.shape) > due_s:
            out += _leave(line, kept, last=queued)
    return out


def _leave(line: _Line, kept: list[list[tuple[int, int, Queued]]], *, last: Queued) -> list[Queued]:
    """Who leaves for `last` to be on time; it alone, where leaving out the less important is not enough."""
    left: list[tuple[int, int, Queued]] = []
    while line.end_s(last.shape) > last.item.due_s:
        entry = heappop(next(heap for heap in kept if heap))
        line.add(entry[2], times=-1)
        if entry[2] is last:
            for other in left:
                line.add(other[2])
                heappush(kept[other[2].item.priority], other)
            return [last]
        left.append(entry)
    return [queued for _, _, queued in left]
