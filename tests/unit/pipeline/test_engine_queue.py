import asyncio
import threading
from collections.abc import Sequence

import pytest

from app.core.errors import (
    DeadlineError,
    InternalError,
    InvalidParameterError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
)
from app.core.routing import Urgency
from app.pipeline.bisection import Broken, most_tries, run_apart
from app.pipeline.engine_queue import QueueLimits, Served
from app.policy.batch_policy import Cut, Item
from app.policy.deadline_batching import DeadlineParameters, DeadlinePolicy
from tests.fakes import ManualClock
from tests.unit.pipeline.queue_parts import PATIENCE_S, Work, ask, asked, queue, settle


def test_everyone_gets_their_own_answer_from_many_lanes() -> None:
    async def scenario() -> list[int]:
        made = queue(Work(), lanes=3)
        answers = await asyncio.gather(*(ask(made, n) for n in range(100)))
        made.close()
        return [answer.result for answer in answers]

    assert asyncio.run(scenario()) == [2 * n for n in range(100)]


def test_those_who_come_while_the_lane_is_busy_leave_together_and_hear_how_long_they_waited() -> None:
    async def scenario() -> None:
        work, clock = Work(is_open=False), ManualClock(100.0)
        made = queue(work, clock=clock)
        first = await asked(made, 0)
        await work.has_begun()
        others = await asked(made, 1, 2, 3)
        clock.now_s = 100.25
        work.gate.set()
        assert await first[0] == Served(result=0, queue_s=0.0, batch_images=1)
        answers = await asyncio.gather(*others)
        assert answers == [Served(result=2 * n, queue_s=0.25, batch_images=3) for n in (1, 2, 3)]
        assert work.batches == [[0], [1, 2, 3]]
        made.close()

    asyncio.run(scenario())


def test_two_lanes_work_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def meet(items: list[int]) -> list[int]:
        both.wait()
        return items

    async def scenario() -> list[int]:
        made = queue(meet, lanes=2, policy=DeadlinePolicy(DeadlineParameters(lanes=2, max_items=1)))
        answers = await asyncio.gather(ask(made, 1), ask(made, 2))
        made.close()
        return [answer.result for answer in answers]

    assert asyncio.run(scenario()) == [1, 2]


def test_a_full_queue_counts_images_and_refuses_at_once() -> None:
    async def scenario() -> None:
        work = Work(is_open=False)
        made = queue(work, limits=QueueLimits(max_images=4))
        tasks = await asked(made, 0)
        await work.has_begun()
        tasks += await asked(made, 1, images=3)
        with pytest.raises(OverloadedError) as refused:
            await ask(made, 2, images=2)
        assert refused.value.retry_after_s >= 1.0
        assert made.waiting_images == 3
        tasks += await asked(made, 3)
        work.gate.set()
        assert [served.result for served in await asyncio.gather(*tasks)] == [0, 2, 6]
        made.close()

    asyncio.run(scenario())


def test_who_was_given_up_leaves_for_a_more_important_one_when_the_queue_is_full() -> None:
    class Chooses(DeadlinePolicy):
        def displace(self, item: Item) -> Item | None:
            lowest = min((one.item for one in self._timely), key=lambda one: one.priority)
            self.withdraw(lowest.number)
            return lowest if lowest.priority < item.priority else None

    async def scenario() -> None:
        work = Work(is_open=False)
        made = queue(work, limits=QueueLimits(max_images=1), policy=Chooses())
        first = await asked(made, 0)
        await work.has_begun()
        humble = await asked(made, 1, priority=1)
        urgent = await asked(made, 2, priority=9)
        with pytest.raises(OverloadedError):
            await humble[0]
        work.gate.set()
        assert [one.result for one in await asyncio.gather(*first, *urgent)] == [0, 4]
        made.close()

    asyncio.run(scenario())


def test_a_cancelled_caller_is_forgotten_before_it_is_run() -> None:
    async def scenario() -> None:
        work = Work(is_open=False)
        made = queue(work)
        tasks = await asked(made, 0)
        await work.has_begun()
        tasks += await asked(made, 1, 2)
        tasks[1].cancel()
        await settle()
        assert made.waiting_images == 1
        work.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert work.batches == [[0], [2]]
        made.close()

    asyncio.run(scenario())


def test_a_poisoned_image_fails_alone() -> None:
    async def scenario() -> None:
        work = Work(is_open=False, poison={3: ValueError("broken")})
        made = queue(work)
        tasks = await asked(made, 0)
        await work.has_begun()
        tasks += await asked(made, 1, 2, 3, 4)
        work.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one.result for one in results if isinstance(one, Served)] == [0, 2, 4, 8]
        assert isinstance(results[3], ValueError)
        assert work.batches == [[0], [1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]
        made.close()

    asyncio.run(scenario())


def test_an_engine_that_is_gone_is_not_tried_again() -> None:
    async def scenario() -> None:
        work = Work(is_open=False, poison={1: UnavailableError()})
        made = queue(work)
        tasks = await asked(made, 0)
        await work.has_begun()
        tasks += await asked(made, 1, 2)
        work.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in results] == [Served, UnavailableError, UnavailableError]
        assert work.batches == [[0], [1, 2]]
        made.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("poisoned", [{0}, {7}, {0, 7}, {1, 4, 6}])
def test_up_to_three_poisoned_items_are_found_within_the_bound(poisoned: set[int]) -> None:
    work = Work(poison={n: ValueError(str(n)) for n in poisoned})
    ended = run_apart(work, range(8))
    assert [n for n, result in enumerate(ended.results) if isinstance(result, Broken)] == sorted(poisoned)
    assert len(work.batches) == ended.tries <= most_tries(8)


def test_a_batch_in_which_everything_fails_stops_at_the_bound() -> None:
    work = Work(poison={n: ValueError(str(n)) for n in range(128)})
    ended = run_apart(work, range(128))
    assert all(isinstance(result, Broken) for result in ended.results)
    assert len(work.batches) <= most_tries(128) == 43


def test_work_that_answers_too_few_or_leaves_the_interpreter_ends_nobodys_lane() -> None:
    assert isinstance(run_apart(lambda _items: [], [1]).results[0], Broken)
    ended = run_apart(Work(poison={1: SystemExit()}), [1, 2])
    assert [type(one.error) for one in ended.results if isinstance(one, Broken)] == [UnavailableError] * 2


def test_the_policy_learns_only_from_batches_that_went_well() -> None:
    class Watched(DeadlinePolicy):
        seen: list[int]

        def observe(self, batch: Sequence[Item], *, started_s: float, ended_s: float) -> None:
            assert ended_s >= started_s
            self.seen.append(len(batch))

    async def scenario() -> list[int]:
        policy = Watched()
        policy.seen = []
        made = queue(Work(poison={1: ValueError("broken")}), policy=policy)
        await ask(made, 0)
        with pytest.raises(ValueError, match="broken"):
            await ask(made, 1)
        await ask(made, 2)
        made.close()
        return policy.seen

    assert asyncio.run(scenario()) == [1, 1]


def test_a_deadline_that_has_passed_starts_no_work_and_one_that_passes_meanwhile_ends_the_wait() -> None:
    async def scenario() -> None:
        work, clock = Work(is_open=False), ManualClock(100.0)
        made = queue(work, clock=clock, wall_clock=lambda: 1e9)
        with pytest.raises(DeadlineError):
            await ask(made, 0, due_at=1e9 - 1)
        first = await asked(made, 1)
        await work.has_begun()
        late = await asked(made, 2, due_at=1e9 + 30)
        clock.now_s = 131.0
        work.gate.set()
        assert (await first[0]).result == 2
        with pytest.raises(DeadlineError):
            await late[0]
        assert work.batches == [[1]]
        made.close()

    asyncio.run(scenario())


def test_a_caller_whose_deadline_passes_during_the_work_is_told_so() -> None:
    async def scenario() -> None:
        work = Work(is_open=False)
        made = queue(work, wall_clock=lambda: 1e9)
        with pytest.raises(DeadlineError):
            await ask(made, 1, due_at=1e9 + 0.001)
        work.gate.set()
        made.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("due_at", "wait_s", "is_hard"),
    [
        (None, 0.25, False),
        (1e9 + 5, 5.0, True),
        (1e9 - 5, 0.0, True),
        (1e9 + 3600, 60.0, True),  # a clock that was set back an hour
        (1e9 - 3600, 0.25, False),  # and one that was set forward
    ],
)
def test_deadlines_are_moved_to_the_monotonic_clock_within_bounds(
    due_at: float | None, wait_s: float, *, is_hard: bool
) -> None:
    made = queue(Work(), wall_clock=lambda: 1e9)
    assert made._wait_s(Urgency(due_at=due_at)) == (wait_s, is_hard)
    made.close()


def test_what_cannot_be_served_is_refused_with_words() -> None:
    async def scenario() -> None:
        made = queue(Work())
        with pytest.raises(TooLargeError):
            await ask(made, 0, images=5)
        with pytest.raises(InvalidParameterError):
            await ask(made, 0, priority=11)
        with pytest.raises(InvalidParameterError):
            await ask(made, 0, due_at=float("nan"))
        made.close()

    asyncio.run(scenario())


def test_closing_ends_those_who_wait_lets_the_running_finish_and_joins_the_lanes() -> None:
    async def scenario() -> None:
        work = Work(is_open=False)
        made = queue(work)
        running = await asked(made, 1)
        await work.has_begun()
        waiting = await asked(made, 2, 3)
        closing = asyncio.create_task(asyncio.to_thread(made.close))
        for one in waiting:
            with pytest.raises(UnavailableError):
                await one
        work.gate.set()
        await closing
        assert (await running[0]).result == 2
        assert not any(lane.is_alive() for lane in made._lanes)
        with pytest.raises(UnavailableError):
            await ask(made, 4)
        made.close()
        assert work.batches == [[1]]

    asyncio.run(scenario())


def test_a_policy_that_breaks_leaves_nobody_waiting() -> None:
    class Broke(DeadlinePolicy):
        def cut(self, now_s: float) -> Cut:
            if self.waiting_images:
                raise KeyError(now_s)
            return super().cut(now_s)

    async def scenario() -> None:
        made = queue(Work(), policy=Broke())
        with pytest.raises(InternalError):
            await asyncio.wait_for(ask(made, 1), PATIENCE_S)
        made.close()

    asyncio.run(scenario())


def test_callers_of_several_event_loops_share_a_queue() -> None:
    made = queue(Work(), lanes=2)
    found: list[int] = []

    async def scenario(begin: int) -> None:
        answers = await asyncio.gather(*(ask(made, begin + n) for n in range(20)))
        found.extend(answer.result for answer in answers)

    threads = [threading.Thread(target=asyncio.run, args=(scenario(100 * n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    made.close()
    assert sorted(found) == [2 * (100 * n + k) for n in range(3) for k in range(20)]
