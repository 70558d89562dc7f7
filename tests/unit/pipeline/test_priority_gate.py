"""Places by priority, then by arrival; none is lost."""

import asyncio

from app.pipeline.priority_gate import PriorityGate


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_highest_priority_goes_first_and_equals_in_order_of_arrival() -> None:
    async def scenario() -> list[str]:
        gate, order = PriorityGate(1), []

        async def go(name: str, priority: int) -> None:
            async with gate.passed(priority):
                order.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for name, priority in [("first", 0), ("low", 1), ("high", 10), ("low too", 1), ("middle", 5)]:
                tasks.create_task(go(name, priority))
        return order

    assert asyncio.run(scenario()) == ["first", "high", "middle", "low", "low too"]


def test_who_gives_up_loses_no_place() -> None:
    async def scenario() -> None:
        gate, may_leave = PriorityGate(2), asyncio.Event()

        async def stay() -> None:
            async with gate.passed(5):
                await may_leave.wait()

        inside = [asyncio.create_task(stay()) for _ in range(2)]
        await settled()
        waiting = [asyncio.create_task(stay()) for _ in range(4)]
        await settled()
        waiting[0].cancel()
        may_leave.set()
        await settled()
        waiting[1].cancel()  # perhaps it was just given a place
        await asyncio.gather(*inside, *waiting, return_exceptions=True)
        async with asyncio.timeout(1), gate.passed(0), gate.passed(0):
            pass

    asyncio.run(scenario())


def test_a_place_given_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    async def scenario() -> None:
        gate = PriorityGate(1)
        async with asyncio.timeout(1):
            async with gate.passed(0):
                waiter = asyncio.create_task(gate.passed(0).__aenter__())
                await settled()
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            async with gate.passed(0):
                pass

    asyncio.run(scenario())
