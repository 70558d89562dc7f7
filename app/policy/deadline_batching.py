"""The policy `deadline`: a free lane takes the earliest deadlines, in the largest batch that still keeps them."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Final

from app.policy.batch_policy import Bucket, Cut, Item, checked
from app.policy.fair_share import FairShare
from app.policy.giving_up import Queued, Shape, given_up
from app.policy.latency_fit import PRIOR, Latency

LATE_SHARE: Final = 1 / 16
"""Of the images that are run, kept for those that were given up and have waited `patience_s` since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineParameters:
    """`lanes` batches run at a time, of at most `max_items` requests: 1 where a lane is a core and gains by no more.

    `gather_s`: so long a batch may wait to grow while no deadline is in danger, which saves the device's time and costs
    latency; 0 lets no lane idle. `max_debt_s` is how far a stream over its share is put off at most. `patience_s` after
    it was given up a request is served even if others become late by it. `prior` is believed until the first batch.
    """

    lanes: int = 1
    max_items: int | None = None
    gather_s: float = 0.0
    max_debt_s: float = 1.0
    patience_s: float = 2.0
    prior: Latency = PRIOR


class DeadlinePolicy:
    """Earliest deadline first, with streams over their share put off, and with the lowest priority given up first.

    A lane that asks gets work while there is any. Who is given up is served when nobody else waits, or by what room a
    batch has left, or after `patience_s` by a sixteenth of the images; a hard deadline that passes ends it before.
    Not thread-safe. Source: the parts name theirs (`fair_share`, `giving_up`, `latency_fit`).
    """

    def __init__(self, parameters: DeadlineParameters | None = None) -> None:
        self._parameters = parameters or DeadlineParameters()
        self._share = FairShare(max_debt_s=self._parameters.max_debt_s)
        self._shapes: dict[Bucket, Shape] = {}
        self._all: dict[int, Queued] = {}
        self._timely: list[Queued] = []
        self._late: dict[int, float] = {}  # number: since when, in that order
        self._hard: list[tuple[float, int]] = []
        self._images = 0
        self._late_credit = 0.0

    @property
    def waiting_images(self) -> int:
        """Images of all that wait."""
        return self._images

    @property
    def given_up(self) -> int:
        """Requests that wait and were given up."""
        return len(self._late)

    def latency(self, bucket: Bucket) -> Latency:
        """What is known of the engine's time for batches of this bucket."""
        return self._shape(bucket).fit.line

    def offer(self, item: Item) -> None:
        """Let it wait; ValueError as the protocol says."""
        shape = self._shape(checked(item).bucket)
        if item.number in self._all:
            raise ValueError(f"item {item.number} waits already")
        virtual_s, charged_s = item.due_s, 0.0
        if item.stream is not None:
            paid_s, charged_s = self._share.charge(item.stream, item.images * shape.share_s, now_s=item.arrived_s)
            virtual_s = max(virtual_s, paid_s)
        queued = Queued(virtual_s, item.number, item, charged_s, shape)
        self._all[item.number] = queued
        self._images += item.images
        shape.timely += item.images
        insort(self._timely, queued)
        if item.is_hard:
            heappush(self._hard, (item.due_s, item.number))

    def withdraw(self, number: int) -> bool:
        """Forget it; False when it does not wait any more."""
        queued = self._all.get(number)
        if queued is None:
            return False
        self._refund(queued)
        self._remove(queued)
        return True

    def displace(self, item: Item) -> Item | None:
        """The newest that was given up, of the lowest priority and none above that of `item`.

        Where nobody is, the last in line, if it was put off for its stream's sake and `item` is of another stream: one
        that offers too much does not keep the others outside.
        """
        ranks = [shape.late[-1] for shape in self._shapes.values() if shape.late]
        if ranks:
            leaver = self._all[max(ranks)[1]]
        elif self._timely and self._is_in_the_way(self._timely[-1], item):
            leaver = self._timely[-1]
        else:
            return None
        if leaver.item.priority > item.priority:
            return None
        self.withdraw(leaver.number)
        return leaver.item

    @staticmethod
    def _is_in_the_way(last: Queued, item: Item) -> bool:
        return last.virtual_s > last.item.due_s and last.item.stream != item.stream

    def cut(self, now_s: float) -> Cut:
        """What a lane that is free now takes."""
        expired = self._expire(now_s)
        chosen = self._starving(now_s)
        earliest_s = inf
        if self._timely:
            timely = self._give_up(now_s)
            if chosen:
                timely = self._behind(chosen[0], now_s)
            elif timely and (wake_s := self._gathered_s(timely)) > now_s:
                return Cut(expired=expired, wake_s=wake_s)
            earliest_s = min([queued[2].due_s for queued in timely], default=inf)
            chosen += timely
        self._add_late(chosen, now_s, earliest_s=earliest_s)
        self._take(chosen)
        return Cut(batch=tuple([queued.item for queued in chosen]), expired=expired)

    def observe(self, batch: Sequence[Item], *, started_s: float, ended_s: float) -> None:
        """Learn how long such a batch takes."""
        shape = self._shape(batch[0].bucket)
        shape.fit.observe(sum(item.images for item in batch), ended_s - started_s)
        shape.learned()

    def _shape(self, bucket: Bucket) -> Shape:
        shape = self._shapes.get(bucket)
        if shape is None:
            usual = min(bucket.max_batch, self._parameters.max_items or bucket.max_batch)
            shape = Shape(bucket, prior=self._parameters.prior, lanes=self._parameters.lanes, usual=usual)
            self._shapes[bucket] = shape
        return shape

    def _expire(self, now_s: float) -> tuple[Item, ...]:
        expired = []
        while self._hard and self._hard[0][0] <= now_s:
            _, number = heappop(self._hard)
            if (queued := self._all.get(number)) is not None:
                expired.append(queued.item)
                self.withdraw(number)
        return tuple(expired)

    def _starving(self, now_s: float) -> list[Queued]:
        """The one that was given up first, if its turn has come; with it a batch begins."""
        number, since_s = next(iter(self._late.items()), (None, 0.0))
        if number is None:
            self._late_credit = 0.0
            return []
        queued = self._all[number]
        if now_s - since_s < self._parameters.patience_s or self._late_credit < queued.item.images:
            return []
        self._late_credit -= queued.item.images
        return [queued]

    def _give_up(self, now_s: float) -> list[Queued]:
        """Take out who cannot be on time, and say who makes the next batch.

        That is the largest that keeps the earliest deadline in it, if then nobody is late. Otherwise it is a full one:
        it loses the few that are due before it ends, while a small one loses the engine's speed and with it those
        behind, and the next would be smaller still. Only for somebody more important than all whom the small one loses
        it stays small.
        """
        shape = self._timely[0].shape
        full = self._in_one_batch(shape, after=0, items=0)
        small = self._keeping(full, now_s, after=0) or full[:1]
        is_mixed = sum(1 for one in self._shapes.values() if one.timely) > 1
        first = sum([queued.item.images for queued in small])
        out = given_up(self._timely, first=first, now_s=now_s, is_mixed=is_mixed)
        if not out:
            return small
        if len(small) < len(full):
            first = sum([queued.item.images for queued in full])
            other = given_up(self._timely, first=first, now_s=now_s, is_mixed=is_mixed)
            out = other if _importance(other) <= _importance(out) else out
        numbers = {queued[1] for queued in out}
        self._timely = [queued for queued in self._timely if queued[1] not in numbers]
        for queued in out:
            self._refund(queued)
            queued.shape.timely -= queued.item.images
            self._late[queued.number] = now_s
            insort(queued.shape.late, (-queued.item.priority, queued.number))
        if not self._timely:
            return []
        full = self._in_one_batch(self._timely[0].shape, after=0, items=0)
        return self._keeping(full, now_s, after=0) or full[:1]

    def _gathered_s(self, batch: Sequence[Queued]) -> float:
        """Until when this batch may wait to grow; minus infinity when it may not, or cannot."""
        shape = batch[0].shape
        images = sum([queued.item.images for queued in batch])
        is_full = images == shape.bucket.max_batch or len(batch) == self._parameters.max_items
        if not self._parameters.gather_s or is_full or images < shape.timely:
            return -inf
        oldest_s = min(queued.item.arrived_s for queued in batch)
        earliest_s = min(queued.item.due_s for queued in batch)
        return min(oldest_s + self._parameters.gather_s, earliest_s - shape.fit.safe_seconds(shape.bucket.max_batch))

    def _behind(self, late: Queued, now_s: float) -> list[Queued]:
        """Who is on time in one batch with a late one that leads it."""
        return self._keeping(
            self._in_one_batch(late.shape, after=late.item.images, items=1), now_s, after=late.item.images
        )

    def _in_one_batch(self, shape: Shape, *, after: int, items: int) -> list[Queued]:
        """Who may come behind `after` images in `items` requests of that shape, in order."""
        room = shape.bucket.max_batch - after
        most = (self._parameters.max_items or room) - items
        if shape.timely == len(self._timely) == sum(one.timely for one in self._shapes.values()):
            # Of one shape, with one image each: the usual case, and ten times as fast.
            return self._timely[: max(0, min(room, most))]
        found: list[Queued] = []
        for queued in self._timely:
            if queued[4] is shape:
                room -= queued[2].images
                if room < 0 or len(found) >= most:
                    break
                found.append(queued)
        return found

    @staticmethod
    def _keeping(full: list[Queued], now_s: float, *, after: int) -> list[Queued]:
        """As many of them as keep the earliest deadline among them, behind `after` images."""
        if full:
            all_images = after + sum([queued[2].images for queued in full])
            if full[0][4].fit.most_images(min([queued[2].due_s for queued in full]) - now_s) >= all_images:
                return full
        earliest_s = inf
        most = images = after
        for index, queued in enumerate(full):
            item = queued[2]
            images += item.images
            if item.due_s < earliest_s:
                earliest_s = item.due_s
                most = queued[4].fit.most_images(earliest_s - now_s)
            if images > most:
                return full[:index]
        return full

    def _add_late(self, chosen: list[Queued], now_s: float, *, earliest_s: float) -> None:
        """Give the room that is left to those given up, by priority, then by age."""
        led = [shape for shape in self._shapes.values() if shape.late]
        if not led:
            return
        shape = chosen[0].shape if chosen else min(led, key=lambda one: one.late[0])
        images = sum(queued.item.images for queued in chosen)
        self._late_credit = min(shape.bucket.max_batch, self._late_credit + max(images, 1) * LATE_SHARE)
        taken = {queued.number for queued in chosen}
        for _, number in shape.late:
            queued = self._all[number]
            images += queued.item.images
            is_full = images > shape.bucket.max_batch or len(chosen) == self._parameters.max_items
            if is_full or (chosen and now_s + shape.fit.safe_seconds(images) > earliest_s):
                return
            if number not in taken:
                chosen.append(queued)

    def _take(self, chosen: Sequence[Queued]) -> None:
        """Out of all books; the timely in one go, because a hundred removals from a list cost 0.1 ms."""
        timely = {queued[1] for queued in chosen if queued[1] not in self._late}
        images = 0
        for queued in chosen:
            if queued[1] in timely:
                del self._all[queued[1]]
                images += queued[2].images
            else:
                self._remove(queued)
        if timely:
            self._images -= images
            chosen[0].shape.timely -= images
            self._timely = [queued for queued in self._timely if queued[1] not in timely]

    def _refund(self, queued: Queued) -> None:
        if queued.item.stream is not None and queued.number not in self._late:
            self._share.refund(queued.item.stream, queued.charged_s)

    def _remove(self, queued: Queued) -> None:
        del self._all[queued.number]
        self._images -= queued.item.images
        if self._late.pop(queued.number, None) is None:
            queued.shape.timely -= queued.item.images
            del self._timely[bisect_left(self._timely, queued)]
        else:
            rank = (-queued.item.priority, queued.number)
            del queued.shape.late[bisect_left(queued.shape.late, rank)]


def _importance(out: Sequence[Queued]) -> int:
    return max([queued[2].priority for queued in out], default=-1)
