"""The simulator and its checks: what they measure is right, and every planted fault is caught."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.policy.batch_policy import BatchPolicy, Bucket, Cut, Item
from app.policy.deadline_batching import DeadlineParameters, DeadlinePolicy
from app.policy.latency_fit import Latency
from app.policy.rule_batching import RulePolicy, state_machine_policy
from load_tests.batcher import BUCKET, CYCLE_LOAD, ENGINE, offers
from load_tests.batcher_checks import (
    clairvoyant_on_time,
    fair_shares,
    idle_s,
    jain,
    most_on_time,
    reversals,
    violations,
)
from load_tests.batcher_simulation import Batch, Run, poisson, simulate
from tests.unit.policy.batching import LARGE, SMALL, item

SLOW = Latency(each_s=0.001, base_s=0.004)


class Planted(DeadlinePolicy):
    """The real policy, with one fault in what it cuts."""

    def __init__(self, fault: Callable[["Planted", Cut], Cut]) -> None:
        super().__init__()
        self._fault = fault
        self.held: list[Item] = []

    def cut(self, now_s: float) -> Cut:
        return self._fault(self, super().cut(now_s))


def loses(_policy: Planted, cut: Cut) -> Cut:
    return replace(cut, batch=cut.batch[1:] or cut.batch)


def doubles(policy: Planted, cut: Cut) -> Cut:
    again, policy.held = policy.held, list(cut.batch[:1])
    return replace(cut, batch=(*cut.batch, *again)) if cut.batch else cut


def straddles(policy: Planted, cut: Cut) -> Cut:
    return replace(cut, batch=(*cut.batch, *DeadlinePolicy.cut(policy, 0.0).batch))


def expires(_policy: Planted, cut: Cut) -> Cut:
    return replace(cut, batch=cut.batch[:1], expired=cut.batch[1:])


class Stack(RulePolicy):
    """Serves the newest, one at a time: reorders a stream, and starves the oldest while more come."""

    def __init__(self) -> None:
        super().__init__(lambda **_: 1)
        self._order: list[Item] = []

    def offer(self, item: Item) -> None:
        self._order.append(item)

    def cut(self, now_s: float) -> Cut:  # noqa: ARG002  the protocol's
        return Cut(batch=(self._order.pop(),)) if self._order else Cut()


def stream_of(count: int, *, every_s: float, due_in_s: float, stream: str = "a") -> list[Item]:
    return [
        item(n, arrived_s=n * every_s, due_s=n * every_s + due_in_s, stream=stream, bucket=(SMALL, LARGE)[n % 2])
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (loses, "ended 0 times"),
        (doubles, "ended 2 times"),
        (straddles, "mixes 2 buckets"),
        (straddles, "over its limit"),
        (expires, "without a hard deadline"),
    ],
)
def test_a_policy_that_breaks_a_promise_is_caught(fault: Callable[[Planted, Cut], Cut], complaint: str) -> None:
    sent = stream_of(60, every_s=0.0005, due_in_s=0.5)
    assert violations(simulate(DeadlinePolicy(), sent, takes_s=SLOW.seconds)) == []
    broken = violations(simulate(Planted(fault), sent, takes_s=SLOW.seconds))
    assert any(complaint in one for one in broken)


def test_a_policy_that_reorders_a_stream_or_starves_the_oldest_is_caught() -> None:
    sent = [item(n, arrived_s=0.004 * n, due_s=0.004 * n + 0.1, stream="a") for n in range(100)]
    run = simulate(Stack(), sent, takes_s=SLOW.seconds, keeps_waiting=True)
    broken = violations(run, longest_wait_s=0.2)
    assert any("passed over" in one for one in broken)
    assert any("waited" in one for one in broken)
    ours = simulate(DeadlinePolicy(), sent, takes_s=SLOW.seconds, keeps_waiting=True)
    assert violations(ours, longest_wait_s=0.2) == []


def test_a_policy_that_keeps_somebody_for_ever_is_caught() -> None:
    run = simulate(RulePolicy(lambda **_: 1), [item(0)], takes_s=SLOW.seconds)
    assert violations(run) == []
    run.batches.clear()
    run.waiting = 1
    assert violations(run) == ["item 0 ended 0 times", "1 images wait for ever"]


@given(seed=st.integers(0, 50), load=st.sampled_from([0.5, 1.5, 3.0]))
@settings(max_examples=15, deadline=None)
def test_the_deadline_policy_passes_nobody_over_where_no_shares_are_kept(seed: int, load: float) -> None:
    arrivals = [replace(one, stream=None) for one in poisson(offers(load), seconds=0.05, seed=seed)]
    policy = DeadlinePolicy(DeadlineParameters(prior=ENGINE))
    run = simulate(policy, arrivals, takes_s=ENGINE.seconds, keeps_waiting=True)
    assert [one for one in violations(run) if "passed over" in one] == []


def test_the_limit_cycle_of_the_state_machine_is_seen_and_the_deadline_policy_has_none() -> None:
    arrivals = poisson(offers(CYCLE_LOAD), seconds=5.2, seed=1)
    takes_s = ENGINE.seconds
    assert reversals(simulate(state_machine_policy(), arrivals, takes_s=takes_s).batches) >= 3
    run = simulate(DeadlinePolicy(), arrivals[: len(arrivals) // 3], takes_s=takes_s)
    assert reversals(run.batches) == 0
    assert idle_s(run) == 0


def batches_of(sizes: list[int], *, every_s: float = 0.3) -> list[Batch]:
    return [
        Batch(items=tuple(item(n) for n in range(size)), started_s=place * every_s, ended_s=place * every_s)
        for place, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "turns"),
    [
        ([32, 128, 32, 128, 32, 0], 3),
        ([32, 40, 32, 40, 32, 40, 0], 0),
        ([10, 20, 40, 80, 120, 0], 0),
        ([10, 100, 100, 10, 10, 0], 1),
        ([5], 0),
        ([], 0),
    ],
)
def test_only_real_turns_of_the_batch_size_count(sizes: list[int], turns: int) -> None:
    assert reversals(batches_of(sizes)) == turns


def test_idleness_counts_only_while_somebody_waited_who_was_taken_next() -> None:
    early = replace(batches_of([1])[0], started_s=0.2, ended_s=0.3)
    late = Batch(items=(item(1, arrived_s=0.9),), started_s=1.0, ended_s=1.1)
    assert idle_s(Run([], batches=[early, late])) == pytest.approx(0.2 + 0.1)


def test_fairness_is_one_for_equals_and_falls_to_one_nth_for_a_monopoly() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([0.0, 0.0]) == 1.0
    assert fair_shares([1.0, 5.0, 100.0], capacity=10.0) == pytest.approx([1.0, 4.5, 4.5])
    assert fair_shares([1.0, 2.0], capacity=10.0) == pytest.approx([1.0, 2.0])


def best_by_brute_force(jobs: list[Item], *, engine: Latency, max_batch: int) -> int:
    """Of every way to leave some out and to cut the others, in order, into batches that begin as soon as they can."""
    best = 0
    for kept in itertools.product([False, True], repeat=len(jobs)):
        chosen = [job for job, is_kept in zip(jobs, kept, strict=True) if is_kept]
        for cuts in itertools.product([False, True], repeat=max(0, len(chosen) - 1)):
            ends = [place + 1 for place, is_cut in enumerate(cuts) if is_cut] + [len(chosen)]
            free_s, done, begin = 0.0, 0, 0
            for end in ends:
                part = chosen[begin:end]
                free_s = max([free_s, *(job.arrived_s for job in part)]) + engine.seconds(len(part))
                done += (len(part) <= max_batch) * sum(free_s <= job.due_s + 1e-12 for job in part)
                begin = end
            best = max(best, done)
    return best


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.5]), min_size=1, max_size=5),
    base_s=st.sampled_from([0.0, 0.5, 2.0]),
    slo_s=st.sampled_from([1.0, 2.5, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_bound_is_above_every_schedule_and_the_clairvoyant_one_is_not(
    gaps: list[float], base_s: float, slo_s: float
) -> None:
    engine = Latency(each_s=1.0, base_s=base_s)
    moments = list(itertools.accumulate(gaps))
    jobs = [item(n, arrived_s=at_s, due_s=at_s + slo_s) for n, at_s in enumerate(moments)]
    best = best_by_brute_force(jobs, engine=engine, max_batch=2)
    assert clairvoyant_on_time(jobs, engine, max_batch=2) <= best
    assert best <= most_on_time(jobs, image_s=engine.seconds(2) / 2)


def test_the_bound_refuses_what_it_is_not_a_bound_for() -> None:
    with pytest.raises(ValueError, match="order of arrival"):
        most_on_time([item(0, due_s=2.0), item(1, due_s=1.0)], image_s=1.0)
    with pytest.raises(ValueError, match="more than one"):
        most_on_time([item(0, images=2)], image_s=1.0)


@pytest.mark.parametrize(("load", "share"), [(0.9, 1.0), (1.1, 0.97), (1.6, 0.97)])
def test_the_deadline_policy_comes_close_to_the_bound(load: float, share: float) -> None:
    arrivals = poisson(offers(load), seconds=0.6, seed=7)
    run = simulate(DeadlinePolicy(), arrivals, takes_s=ENGINE.seconds, max_images=512)
    best = most_on_time(arrivals, image_s=ENGINE.seconds(BUCKET.max_batch) / BUCKET.max_batch)
    assert share * best <= len(run.on_time()) <= best


def test_lanes_work_at_the_same_time_and_a_full_house_refuses() -> None:
    bucket = Bucket(width_px=8, height_px=8, max_batch=1)
    sent = [item(n, bucket=bucket) for n in range(6)]
    policy: BatchPolicy = DeadlinePolicy()
    run = simulate(policy, sent, takes_s=lambda _: 1.0, lanes=2, max_images=4)
    assert [batch.started_s for batch in run.batches] == [0.0, 0.0, 1.0, 1.0]
    assert [one.number for one in run.refused] == [4, 5]
    assert violations(run) == []
