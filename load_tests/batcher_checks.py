"""What is wrong with a simulated run, and how good any schedule could have been."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from app.policy.batch_policy import Item
from app.policy.latency_fit import Latency
from load_tests.batcher_simulation import Batch, Run

SWING = 1.6
"""Batches that grow or shrink by less than this factor from one window to the next have not turned."""


def violations(run: Run, *, longest_wait_s: float = float("inf")) -> list[str]:
    """Every promise of a batching policy that the run broke, one sentence each; empty when none.

    `longest_wait_s` is how long anybody may wait before its batch begins. Who was passed over is only seen in runs
    that kept who waited.
    """
    return [*_accounts(run), *_batches(run), *_waits(run, longest_wait_s), *_passed_over(run)]


def _accounts(run: Run) -> Iterator[str]:
    ends = Counter(item.number for batch in run.batches for item in batch.items)
    for gone in (run.expired, run.displaced, run.refused):
        ends.update(item.number for item in gone)
    for item in run.offered:
        if ends[item.number] != 1:
            yield f"item {item.number} ended {ends[item.number]} times"
    yield from (f"item {item.number} expired without a hard deadline" for item in run.expired if not item.is_hard)
    if run.waiting:
        yield f"{run.waiting} images wait for ever"


def _batches(run: Run) -> Iterator[str]:
    for batch in run.batches:
        buckets = {item.bucket for item in batch.items}
        if len(buckets) != 1:
            yield f"a batch mixes {len(buckets)} buckets"
        if batch.images > min(bucket.max_batch for bucket in buckets):
            yield f"a batch of {batch.images} images is over its limit"


def _waits(run: Run, longest_wait_s: float) -> Iterator[str]:
    for batch in run.batches:
        for item in batch.items:
            if batch.started_s - item.arrived_s > longest_wait_s:
                yield f"item {item.number} waited {batch.started_s - item.arrived_s:.3f} s"


def _passed_over(run: Run) -> Iterator[str]:
    """Who became late because a later one of its own stream went first, which was no more important or urgent."""
    ended_s = run.ended_s()
    for batch in run.batches:
        taken = {item.number for item in batch.items}
        for waiting in batch.waiting:
            is_late = ended_s.get(waiting.number, float("inf")) > waiting.due_s >= batch.ended_s
            if is_late and waiting.number not in taken and any(_comes_after(item, waiting) for item in batch.items):
                yield f"item {waiting.number} was passed over"


def _comes_after(item: Item, other: Item) -> bool:
    return (
        (item.stream, item.bucket, item.images) == (other.stream, other.bucket, other.images)
        and item.arrived_s > other.arrived_s
        and item.due_s >= other.due_s
        and item.priority <= other.priority
    )


def idle_s(run: Run) -> float:
    """Seconds in which a run's only lane was free while somebody waited whom it took next."""
    before_s = [0.0, *(batch.ended_s for batch in run.batches)]
    return sum(
        max(0.0, batch.started_s - max(end_s, min(item.arrived_s for item in batch.items)))
        for end_s, batch in zip(before_s, run.batches, strict=False)
    )


def reversals(batches: Sequence[Batch], *, window_s: float = 0.25) -> int:
    """How often the mean batch of a window turned from growing to shrinking or back, by more than `SWING`.

    A limit cycle turns for ever; a policy that follows its load turns when the load does. The last window is left out.
    """
    grouped = itertools.groupby(batches, key=lambda batch: int(batch.started_s / window_s))
    sizes = [[batch.images for batch in group] for _, group in grouped][:-1]
    means = [sum(window) / len(window) for window in sizes]
    turns = direction = 0
    low = high = means[0] if means else 0.0
    for mean in means:
        low, high = min(low, mean), max(high, mean)
        if direction <= 0 and mean > SWING * low:
            turns += direction < 0
            direction, high = 1, mean
        elif direction >= 0 and SWING * mean < high:
            turns += direction > 0
            direction, low = -1, mean
    return turns


def jain(shares: Sequence[float]) -> float:
    """1 when all are equal, 1/n when one has all, 1 when nobody has any.

    Source: Jain, Chiu and Hawe, A quantitative measure of fairness and discrimination, DEC TR-301 (1984).
    """
    squares = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def fair_shares(demands: Sequence[float], *, capacity: float) -> list[float]:
    """What each gets when nobody can have more without taking it from one who has less (max-min)."""
    shares = [0.0] * len(demands)
    left = capacity
    order = sorted(range(len(demands)), key=lambda index: demands[index])
    for place, index in enumerate(order):
        shares[index] = min(demands[index], left / (len(order) - place))
        left -= shares[index]
    return shares


def clairvoyant_on_time(arrivals: Sequence[Item], engine: Latency, *, max_batch: int) -> int:
    """How many of these items one schedule has done by their deadlines that knows all arrivals: so many can be.

    It leaves out beforehand whom the easier machine of `most_on_time` cannot serve some time before the deadline, and
    runs the others in order of arrival, in batches of all that wait. Of nine such times, none to two full batches, the
    best counts. One lane; items as for `most_on_time`.
    """
    full_s = engine.seconds(max_batch)
    best = 0
    for eighths in range(0, 17, 2):
        chosen = _admitted(arrivals, image_s=full_s / max_batch, before_s=eighths / 8 * full_s)
        best = max(best, _served_on_time(chosen, engine, max_batch=max_batch))
    return best


def _served_on_time(chosen: Sequence[Item], engine: Latency, *, max_batch: int) -> int:
    free_s = 0.0
    begin = on_time = 0
    while begin < len(chosen):
        start_s = max(free_s, chosen[begin].arrived_s)
        end = begin + 1
        while end < len(chosen) and end - begin < max_batch and chosen[end].arrived_s <= start_s:
            end += 1
        free_s = start_s + engine.seconds(end - begin)
        on_time += sum(free_s <= item.due_s for item in chosen[begin:end])
        begin = end
    return on_time


def most_on_time(arrivals: Sequence[Item], *, image_s: float) -> int:
    """No schedule, not even one that knows all arrivals, has more of these items done by their deadlines.

    `image_s` is the engine's time for an image in its best batch, divided by the lanes. The bound is that of an easier
    machine: it works on one image at a time for `image_s`, may interrupt it, and pays nothing for a batch. Whatever an
    engine does in a batch of n between s and s + d(n), with d(n) >= n * image_s, this machine can do between the same
    moments. On it, first come, first served, leaving out each that would be late, keeps the most: all take equally
    long, so leaving out another frees the machine no earlier.

    Items hold one image, and their deadlines are in the order of arrival; ValueError otherwise.
    Source: Kise, Ibaraki and Mine, A solvable case of the one-machine scheduling problem with ready and due times,
    Operations Research 26 (1978).
    """
    if any(
        later.due_s < item.due_s or later.arrived_s < item.arrived_s for item, later in itertools.pairwise(arrivals)
    ):
        raise ValueError("the deadlines are not in the order of arrival")
    if any(item.images != 1 for item in arrivals):
        raise ValueError("an item holds more than one image")
    return len(_admitted(arrivals, image_s=image_s))


def _admitted(arrivals: Sequence[Item], *, image_s: float, before_s: float = 0.0) -> list[Item]:
    """Whom a machine that takes `image_s` for each, and pays for no batch, serves so long before the deadline."""
    free_s = 0.0
    kept = []
    for item in arrivals:
        done_s = max(free_s, item.arrived_s) + image_s
        if done_s <= item.due_s - before_s:
            free_s = done_s
            kept.append(item)
    return kept
