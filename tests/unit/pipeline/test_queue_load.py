"""What a queue tells of its load: who waited too long, and whose deadline passed."""

import asyncio

from app.core.errors import DeadlineError
from app.core.routing import Urgency
from app.pipeline.engine_queue import QueueLimits, Served
from tests.fakes import ManualClock
from tests.unit.pipeline.queue_parts import BUCKET, Work, asked, queue


def test_deadlines_that_pass_while_they_wait_are_counted_once_and_those_too_near_to_be_kept_are_not() -> None:
    async def missed(*, age_s: float) -> tuple[int, int]:
        work, clock = Work(is_open=False), ManualClock(100.0)
        made = queue(work, clock=clock, wall_clock=clock, limits=QueueLimits(slo_s=0.25))
        first = await asked(made, 0)
        await work.has_begun()
        hasty = await asked(made, 1, 2, due_at=100.0 + age_s)
        clock.now_s += age_s
        work.gate.set()
        ends = await asyncio.gather(*first, *hasty, return_exceptions=True)
        assert [type(end) for end in ends] == [Served, DeadlineError, DeadlineError]
        found = made.take_missed(), made.take_missed()
        made.close()
        return found

    assert asyncio.run(missed(age_s=0.2)) == (2, 0)
    assert asyncio.run(missed(age_s=0.05)) == (0, 0)


def test_the_wait_that_counts_is_that_of_the_oldest_who_is_in_a_hurry() -> None:
    async def scenario() -> None:
        work, clock = Work(is_open=False), ManualClock(100.0)
        made = queue(work, clock=clock)
        tasks = await asked(made, 0)
        await work.has_begun()
        clock.now_s += 1.0
        patient = made.offer(1, images=1, stream_id=None, urgency=Urgency(), bucket=BUCKET)
        clock.now_s += 1.0
        assert made.take_wait_s() == 0.0
        tasks += await asked(made, 2)
        clock.now_s += 0.5
        assert made.take_wait_s() == 0.5
        clock.now_s += 0.25
        work.gate.set()
        await asyncio.gather(*tasks, made.answer(patient))
        assert made.take_wait_s() == 0.75  # it waits no more, and was too late
        assert made.take_wait_s() == 0.0
        made.close()

    asyncio.run(scenario())
