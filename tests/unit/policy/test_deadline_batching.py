from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.policy.batch_policy import Bucket, Item
from app.policy.deadline_batching import DeadlineParameters, DeadlinePolicy
from app.policy.latency_fit import Latency
from load_tests.batcher_checks import idle_s, jain, violations
from load_tests.batcher_simulation import Offer, poisson, simulate
from tests.unit.policy.batching import ENGINE, LARGE, SMALL, arrivals, item, numbers, taught


def policy(**parameters: object) -> DeadlinePolicy:
    made = DeadlinePolicy(DeadlineParameters(**{"prior": ENGINE, **parameters}))
    assert taught(made) is made
    return made


def offered(*items: Item, **parameters: object) -> DeadlinePolicy:
    made = policy(**parameters)
    for one in items:
        made.offer(one)
    return made


def test_the_earliest_deadline_goes_first_whoever_came_first() -> None:
    made = offered(*(item(n, due_s=1.0 - 0.1 * n, bucket=LARGE) for n in range(6)))
    assert numbers(made.cut(0.0)) == [5, 4, 3, 2]
    assert numbers(made.cut(0.0)) == [1, 0]
    assert numbers(made.cut(0.0)) == []


def test_a_free_lane_takes_what_there_is_at_once() -> None:
    made = offered(item(0, due_s=60.0))
    assert numbers(made.cut(0.0)) == [0]
    assert made.waiting_images == 0


def test_a_batch_counts_images_and_stops_before_the_limit_of_its_profile() -> None:
    made = offered(item(0, images=3), item(1, images=4), item(2, images=2), item(3, images=8))
    assert [numbers(made.cut(0.0)) for _ in range(3)] == [[0, 1], [2], [3]]


def test_a_batch_holds_one_bucket() -> None:
    made = offered(item(0, due_s=1.0), item(1, due_s=1.1, bucket=LARGE), item(2, due_s=1.2))
    assert [numbers(made.cut(0.0)) for _ in range(2)] == [[0, 2], [1]]


def test_a_batch_is_the_largest_that_keeps_the_earliest_deadline_in_it() -> None:
    # d(3) = 7 ms and d(4) = 8 ms: with four images the first would be late.
    made = offered(item(0, due_s=0.0075), *(item(n, due_s=1.0) for n in range(1, 8)))
    assert numbers(made.cut(0.0)) == [0, 1, 2]


def test_when_not_all_can_be_on_time_the_least_important_is_given_up_and_served_last() -> None:
    # d(4) = 8 ms: one batch of four is on time, the second would end at 16 ms.
    made = offered(*(item(n, due_s=0.012, priority=5 if n != 2 else 1, bucket=LARGE) for n in range(5)))
    assert numbers(made.cut(0.0)) == [0, 1, 3, 4]
    assert made.given_up == 1
    assert numbers(made.cut(0.008)) == [2]


def test_an_important_one_that_is_late_anyway_costs_nobody_a_place() -> None:
    made = offered(item(0, due_s=0.001, priority=10), *(item(n, due_s=0.012, bucket=LARGE) for n in range(1, 5)))
    assert numbers(made.cut(0.0)) == [1, 2, 3, 4]
    assert numbers(made.cut(0.008)) == [0]


def test_a_few_urgent_ones_do_not_break_up_the_batches_that_the_others_need() -> None:
    made = offered(item(0, due_s=0.0055), *(item(n, due_s=0.0165, bucket=SMALL) for n in range(1, 12)))
    assert len(made.cut(0.0).batch) == 8


def test_a_few_urgent_ones_do_so_when_they_are_more_important() -> None:
    made = offered(item(0, due_s=0.0055, priority=9), *(item(n, due_s=0.0165, bucket=SMALL) for n in range(1, 12)))
    assert numbers(made.cut(0.0)) == [0]


def test_a_hard_deadline_that_passed_ends_and_a_soft_one_is_served_late() -> None:
    made = offered(item(0, due_s=0.01, is_hard=True), item(1, due_s=0.01))
    cut = made.cut(0.02)
    assert [one.number for one in cut.expired] == [0]
    assert numbers(cut) == [1]
    assert made.waiting_images == 0


def test_who_left_is_never_run() -> None:
    made = offered(item(0), item(1, is_hard=True), item(2))
    assert made.withdraw(1)
    assert not made.withdraw(1)
    assert numbers(made.cut(0.0)) == [0, 2]
    assert made.cut(5.0).expired == ()


def test_room_in_a_batch_goes_to_those_given_up() -> None:
    made = offered(item(0, due_s=0.001), item(1, due_s=1.0))
    assert numbers(made.cut(0.0)) == [1, 0]


def test_nobody_who_was_given_up_waits_for_ever_while_the_engine_is_overloaded() -> None:
    made = offered(item(0, due_s=0.001, bucket=LARGE), patience_s=0.5)
    served_at = None
    for step in range(400):
        now_s = 0.008 * step
        for place in range(8):  # twice what the engine does
            made.offer(item(1 + 8 * step + place, due_s=now_s + 0.02, arrived_s=now_s, bucket=LARGE))
        served_at = now_s if 0 in numbers(made.cut(now_s)) and served_at is None else served_at
    assert served_at is not None
    assert 0.5 <= served_at < 0.5 + 16 * 4 * 0.008


def test_a_full_house_sends_away_the_least_important_of_those_given_up() -> None:
    made = offered(*(item(n, due_s=0.012, priority=n, bucket=LARGE) for n in range(6)))
    assert made.displace(item(9, priority=10)) is None  # nobody has been given up yet
    made.cut(0.0)
    assert made.displace(item(9, priority=0)).number == 0
    assert made.displace(item(9, priority=0)) is None
    assert made.displace(item(9, priority=5)).number == 1
    assert made.waiting_images == 0


@pytest.mark.parametrize(("names", "is_on_time"), [(("greedy", "modest"), True), ((None, None), False)])
def test_a_stream_over_its_share_is_put_off_behind_the_others(
    names: tuple[str | None, str | None], *, is_on_time: bool
) -> None:
    greedy, modest = names
    burst = [item(number, stream=greedy, due_s=0.05) for number in range(1, 61)]
    sent = [item(0, stream=modest, due_s=0.05), *burst, item(61, stream=modest, due_s=0.05)]
    run = simulate(policy(), sent, takes_s=ENGINE.seconds)
    assert (61 in {one.number for one in run.on_time()}) is is_on_time


def test_a_stream_over_its_share_does_not_keep_others_outside_a_full_house() -> None:
    made = offered(item(0, stream="modest", due_s=0.05), *(item(n, stream="greedy", due_s=0.05) for n in range(1, 61)))
    assert made.displace(item(61, stream="greedy")) is None
    assert made.displace(item(62, stream="modest")).number == 60
    assert made.displace(item(63, stream="modest", priority=4)) is None


def test_one_stream_that_offers_ten_times_as_much_leaves_the_others_their_share() -> None:
    engine = Latency(each_s=0.0002, base_s=0.001)
    bucket = Bucket(width_px=640, height_px=640, max_batch=16)
    part_hz = 16 / engine.seconds(16) / 4
    rates_hz = (10 * part_hz, part_hz, part_hz, part_hz)
    offers = [Offer(stream=str(n), rate_hz=hz, bucket=bucket, slo_s=0.03) for n, hz in enumerate(rates_hz)]
    run = simulate(DeadlinePolicy(), poisson(offers, seconds=0.7, seed=1), takes_s=engine.seconds, max_images=128)
    got = Counter(one.stream for one in run.on_time())
    assert jain([got[offer.stream] for offer in offers]) >= 0.95


def test_a_batch_may_wait_to_grow_when_it_was_told_so_but_no_deadline_is_lost_by_it() -> None:
    made = offered(item(0, due_s=1.0), gather_s=0.01)
    assert made.cut(0.0).wake_s == pytest.approx(0.01)
    made.offer(item(1, due_s=0.02, arrived_s=0.001))
    assert made.cut(0.001).wake_s == pytest.approx(0.02 - ENGINE.seconds(8))
    assert numbers(made.cut(0.01)) == [1, 0]


def test_it_learns_how_long_batches_take() -> None:
    made = DeadlinePolicy()
    taught(made)
    assert made.latency(SMALL).base_s == pytest.approx(ENGINE.base_s)
    assert made.latency(SMALL).each_s == pytest.approx(ENGINE.each_s)


@pytest.mark.parametrize("images", [0, 5])
def test_more_images_than_a_batch_can_hold_are_refused(images: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        policy().offer(item(0, images=images, bucket=LARGE))


def test_a_number_waits_once() -> None:
    made = offered(item(0))
    with pytest.raises(ValueError, match="waits already"):
        made.offer(item(0))
    with pytest.raises(ValueError, match="priority"):
        made.offer(item(1, priority=11))


@given(sent=arrivals(), lanes=st.integers(1, 3), max_items=st.sampled_from([None, 1, 2]))
@settings(max_examples=40, deadline=None)
def test_whatever_arrives_nobody_is_lost_or_doubled_and_no_batch_breaks_its_bucket(
    sent: list[Item], lanes: int, max_items: int | None
) -> None:
    made = DeadlinePolicy(DeadlineParameters(lanes=lanes, max_items=max_items))
    run = simulate(made, sent, takes_s=ENGINE.seconds, lanes=lanes, max_images=40, keeps_waiting=True)
    assert [one for one in violations(run, longest_wait_s=2.0) if "passed over" not in one] == []
    assert all(len(batch.items) <= (max_items or 8) for batch in run.batches)
    assert idle_s(run) == 0 or lanes > 1


@given(sent=arrivals(), acts=st.lists(st.sampled_from(["offer", "offer", "cut", "withdraw", "displace"]), max_size=80))
@settings(max_examples=40, deadline=None)
def test_taken_and_waiting_and_expired_and_withdrawn_are_what_was_offered(sent: list[Item], acts: list[str]) -> None:
    made = DeadlinePolicy()
    coming = list(sent)
    waits: dict[int, Item] = {}
    now_s = 0.0

    def offer() -> None:
        one = coming.pop(0)
        made.offer(one)
        waits[one.number] = one

    def cut() -> None:
        found = made.cut(now_s)
        for one in (*found.batch, *found.expired):
            del waits[one.number]

    def withdraw() -> None:
        number = next(iter(waits), -1)
        assert made.withdraw(number) == (waits.pop(number, None) is not None)

    def displace() -> None:
        gone = made.displace(item(-1, priority=5))
        assert gone is None or waits.pop(gone.number).priority <= 5

    does = {"offer": offer, "cut": cut, "withdraw": withdraw, "displace": displace}
    for act in acts[: len(sent)]:
        now_s = max(now_s + 0.003, sent[-1].arrived_s if not coming else coming[0].arrived_s)
        does[act]()
        assert made.waiting_images == sum(one.images for one in waits.values())


@given(
    jobs=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([1, 5, 9])), min_size=1, max_size=7),
)
@settings(max_examples=50, deadline=None)
def test_no_choice_keeps_more_of_the_important_when_pictures_go_one_by_one(jobs: list[tuple[int, int]]) -> None:
    """Against every subset, on an engine that takes 1 s for each picture, one at a time."""
    one_by_one = Bucket(width_px=64, height_px=64, max_batch=1)
    made = DeadlinePolicy(DeadlineParameters(prior=Latency(each_s=1.0, base_s=0.0)))
    for number, (due_s, priority) in enumerate(jobs):
        made.offer(item(number, due_s=float(due_s), priority=priority, bucket=one_by_one))
    first = made.cut(0.0).batch[0]
    kept = [one.item for one in made._timely] + [first] * (first.due_s >= 1.0)

    def worth(some: list[Item] | tuple[Item, ...]) -> list[int]:
        return [sum(one.priority == priority for one in some) for priority in (9, 5, 1)]

    def is_feasible(some: tuple[Item, ...]) -> bool:
        return all(place + 1 <= one.due_s for place, one in enumerate(sorted(some, key=lambda one: one.due_s)))

    all_items = [item(n, due_s=float(due_s), priority=priority) for n, (due_s, priority) in enumerate(jobs)]
    subsets = (some for size in range(len(jobs) + 1) for some in combinations(all_items, size))
    assert worth(kept) == max(worth(some) for some in subsets if is_feasible(some))
