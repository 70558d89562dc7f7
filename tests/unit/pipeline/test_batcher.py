import asyncio
import contextvars

import pytest

from app.core.errors import DeadlineError, InternalError, OverloadedError
from app.pipeline.batcher import MicroBatcher
from app.policy.batching import BatchLimits
from app.policy.door import LEAST
from tests.fakes import ManualClock


class Work:
    """Doubles numbers; holds every batch until its gate opens."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        await self.gate.wait()
        return [2 * item for item in items]


class Timed(Work):
    """Work that takes half a second of the clock for each item."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    async def __call__(self, items: list[int]) -> list[int]:
        answers = await super().__call__(items)
        self._clock.now_s += 0.5 * len(items)
        return answers


async def warmed(batcher: MicroBatcher[int, int]) -> None:
    """Let it learn its pace, one frame after the other."""
    for number in range(LEAST):
        assert await batcher.submit(number) == 2 * number


def limits(
    *, max_batch: int = 4, max_in_flight: int = 1, max_waiting: int = 100, max_wait_s: float = 60.0
) -> BatchLimits:
    return BatchLimits(max_batch=max_batch, max_in_flight=max_in_flight, max_waiting=max_waiting, max_wait_s=max_wait_s)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_everyone_gets_their_own_answer() -> None:
    async def scenario() -> list[int]:
        batcher = MicroBatcher(Work(), limits=limits())
        return await asyncio.gather(*(batcher.submit(n) for n in range(10)))

    assert asyncio.run(scenario()) == [2 * n for n in range(10)]


def test_one_frame_leaves_alone_and_those_who_came_meanwhile_leave_together() -> None:
    async def scenario() -> list[list[int]]:
        work = Work(is_open=False)
        batcher = MicroBatcher(work, limits=limits())
        tasks = [asyncio.create_task(batcher.submit(n)) for n in range(7)]
        await settle()
        work.gate.set()
        await asyncio.gather(*tasks)
        return work.batches

    assert asyncio.run(scenario()) == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_full_queue_refuses_at_once() -> None:
    async def scenario() -> OverloadedError:
        work = Work(is_open=False)
        batcher = MicroBatcher(work, limits=limits(max_waiting=2))
        tasks = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
        await settle()
        with pytest.raises(OverloadedError) as refused:
            await batcher.submit(99)
        work.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]
        assert await batcher.submit(5) == 10
        return refused.value

    assert asyncio.run(scenario()).retry_after_s >= 1.0


def test_who_cannot_be_answered_in_time_is_refused_at_once_with_the_time_the_line_takes() -> None:
    async def scenario() -> list[int]:
        clock = ManualClock()
        work = Timed(clock)
        batcher = MicroBatcher(work, limits=limits(max_batch=1, max_wait_s=2.0), clock=clock)
        await warmed(batcher)
        work.gate.clear()
        line = [asyncio.create_task(batcher.submit(n)) for n in range(1, 4)]
        await settle()
        for deadline_s, wait_s in ((clock() + 1.9, 1.5), (clock() + 0.1, 1.5)):
            with pytest.raises(OverloadedError, match="too late") as refused:
                await batcher.submit(99, deadline_s=deadline_s)
            assert refused.value.retry_after_s == pytest.approx(wait_s)
        line.append(asyncio.create_task(batcher.submit(4, deadline_s=clock() + 30.0)))
        await settle()
        with pytest.raises(OverloadedError, match="too late") as refused:
            await batcher.submit(99)
        assert refused.value.retry_after_s == pytest.approx(2.0)
        work.gate.set()
        answers = await asyncio.gather(*line)
        # Those who stood behind others have told how long a place costs, and not how long one frame takes.
        work.gate.clear()
        line = [asyncio.create_task(batcher.submit(n, deadline_s=clock() + 1.1)) for n in (5, 6)]
        await settle()
        work.gate.set()
        return answers + await asyncio.gather(*line)

    assert asyncio.run(scenario()) == [2, 4, 6, 8, 10, 12]


def test_64_images_of_one_request_pass_on_an_idle_server_and_others_are_refused_meanwhile() -> None:
    async def scenario() -> list[int]:
        clock = ManualClock()
        work = Timed(clock)
        batcher = MicroBatcher(work, limits=limits(max_wait_s=1.0), clock=clock)
        await warmed(batcher)
        work.gate.clear()
        parts = [asyncio.create_task(batcher.submit(n, request="many")) for n in range(64)]
        await settle()
        with pytest.raises(OverloadedError, match="too late"):
            await batcher.submit(99, request="other")
        work.gate.set()
        answers = await asyncio.gather(*parts)
        assert await batcher.submit(7, request="other") == 14
        return answers

    assert asyncio.run(scenario()) == [2 * n for n in range(64)]


def test_those_who_left_keep_nobody_out() -> None:
    async def scenario() -> int:
        clock = ManualClock()
        work = Timed(clock)
        batcher = MicroBatcher(work, limits=limits(max_batch=1, max_wait_s=1.5), clock=clock)
        await warmed(batcher)
        work.gate.clear()
        line = [asyncio.create_task(batcher.submit(n)) for n in range(1, 4)]
        await settle()
        with pytest.raises(OverloadedError):
            await batcher.submit(99)
        line[1].cancel()
        await settle()
        late = asyncio.create_task(batcher.submit(7))
        await settle()
        work.gate.set()
        await asyncio.gather(*line, return_exceptions=True)
        return await late

    assert asyncio.run(scenario()) == 14


def test_a_batch_that_failed_leaves_the_line() -> None:
    async def scenario() -> int:
        clock = ManualClock()

        async def broken(items: list[int]) -> list[int]:
            clock.now_s += 1.0
            if items == [13]:
                raise ValueError("broken")
            return [2 * item for item in items]

        batcher = MicroBatcher(broken, limits=limits(max_batch=1), clock=clock)
        await warmed(batcher)
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                await batcher.submit(13)
        return await batcher.submit(2, deadline_s=clock() + 0.5)

    assert asyncio.run(scenario()) == 4


def test_a_deadline_that_has_passed_starts_no_work() -> None:
    async def scenario() -> list[list[int]]:
        work = Work()
        batcher = MicroBatcher(work, limits=limits(), clock=ManualClock(10.0))
        with pytest.raises(DeadlineError):
            await batcher.submit(1, deadline_s=9.0)
        return work.batches

    assert asyncio.run(scenario()) == []


def test_a_frame_whose_deadline_passes_while_it_waits_is_never_begun() -> None:
    async def scenario() -> list[list[int]]:
        clock = ManualClock()
        work = Work(is_open=False)
        batcher = MicroBatcher(work, limits=limits(), clock=clock)
        first = asyncio.create_task(batcher.submit(1))
        late = asyncio.create_task(batcher.submit(2, deadline_s=60.0))
        await settle()
        clock.now_s = 61.0
        work.gate.set()
        assert await first == 2
        with pytest.raises(DeadlineError):
            await late
        return work.batches

    assert asyncio.run(scenario()) == [[1]]


def test_a_caller_whose_deadline_passes_during_the_work_is_told_so() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        batcher = MicroBatcher(Work(is_open=False), limits=limits(), clock=clock)
        with pytest.raises(DeadlineError):
            await batcher.submit(1, deadline_s=0.01)

    asyncio.run(scenario())


def test_a_cancelled_caller_takes_no_place_in_a_batch() -> None:
    async def scenario() -> list[list[int]]:
        work = Work(is_open=False)
        batcher = MicroBatcher(work, limits=limits(max_waiting=2))
        tasks = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
        await settle()
        tasks[1].cancel()
        await settle()
        tasks.append(asyncio.create_task(batcher.submit(7)))
        await settle()
        work.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return work.batches

    assert asyncio.run(scenario()) == [[0], [2, 7]]


def test_a_batch_that_fails_fails_its_callers_and_nobody_else() -> None:
    async def broken(items: list[int]) -> list[int]:
        if 0 in items:
            raise ValueError("broken")
        return items

    async def scenario() -> int:
        batcher = MicroBatcher(broken, limits=limits(max_batch=1))
        with pytest.raises(ValueError, match="broken"):
            await batcher.submit(0)
        return await batcher.submit(1)

    assert asyncio.run(scenario()) == 1


def test_a_stage_that_answers_too_few_leaves_nobody_waiting() -> None:
    async def forgetful(_items: list[int]) -> list[int]:
        return []

    async def scenario() -> None:
        with pytest.raises(InternalError):
            await asyncio.wait_for(MicroBatcher(forgetful, limits=limits()).submit(1), 5)

    asyncio.run(scenario())


def test_a_batch_does_not_run_in_the_context_of_one_of_its_requests() -> None:
    request = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    async def look(items: list[int]) -> list[int]:
        seen.append(request.get())
        return items

    async def scenario() -> None:
        request.set("caller")
        await MicroBatcher(look, limits=limits()).submit(1)

    asyncio.run(scenario())
    assert seen == ["none"]
