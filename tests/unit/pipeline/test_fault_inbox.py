import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import InvalidParameterError, NotFoundError, OverloadedError
from app.pipeline.fault_inbox import MAX_PLANTED, FaultInbox, LocalFaults
from app.policy.fault_plan import GpuOom, SlowKernel, StickyError
from tests.fakes import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def inbox(clock: ManualClock) -> FaultInbox:
    return FaultInbox(clock=clock)


def test_a_fault_is_active_until_it_expires(inbox: FaultInbox, clock: ManualClock) -> None:
    planted = inbox.put(GpuOom(), expires_s=10)
    clock.now_s += 9.5
    assert inbox.active(GpuOom) == GpuOom()
    assert [(one.fault_id, one.expires_in_s) for one in inbox.planted()] == [(planted.fault_id, 0.5)]
    clock.now_s += 0.5
    assert inbox.active(GpuOom) is None
    assert inbox.planted() == []


def test_a_fault_is_active_until_it_is_removed_and_only_for_its_kind(inbox: FaultInbox) -> None:
    planted = inbox.put(GpuOom(), expires_s=10)
    assert inbox.active(SlowKernel) is None
    assert inbox.remove(planted.fault_id).fault == GpuOom()
    assert inbox.active(GpuOom) is None
    with pytest.raises(NotFoundError):
        inbox.remove(planted.fault_id)


def test_of_two_the_newer_one_counts_and_each_has_its_id(inbox: FaultInbox) -> None:
    ids = {inbox.put(SlowKernel(factor=factor), expires_s=10).fault_id for factor in (2, 3)}
    assert len(ids) == 2
    assert inbox.active(SlowKernel) == SlowKernel(factor=3)


def test_a_fault_that_strikes_once_strikes_once(inbox: FaultInbox) -> None:
    inbox.put(StickyError(), expires_s=10)
    assert [inbox.take(StickyError) for _ in range(3)] == [StickyError(), None, None]
    assert len(inbox.planted()) == 1


def test_of_many_threads_one_takes_it(inbox: FaultInbox) -> None:
    for _ in range(20):
        inbox.put(StickyError(), expires_s=10)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: inbox.take(StickyError), range(100)))
    assert sum(one is not None for one in taken) == 20


@pytest.mark.parametrize("expires_s", [0, -1, 3601, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(inbox: FaultInbox, expires_s: float) -> None:
    with pytest.raises(InvalidParameterError, match="expires_s"):
        inbox.put(GpuOom(), expires_s=expires_s)


def test_there_is_room_for_so_many_and_expired_ones_make_room(inbox: FaultInbox, clock: ManualClock) -> None:
    for _ in range(MAX_PLANTED):
        inbox.put(GpuOom(), expires_s=10)
    with pytest.raises(OverloadedError, match="remove one"):
        inbox.put(GpuOom(), expires_s=10)
    clock.now_s += 10
    inbox.put(GpuOom(), expires_s=10)


def test_the_port_over_it_plants_lists_and_removes(inbox: FaultInbox) -> None:
    async def scenario() -> tuple[int, int]:
        faults = LocalFaults(inbox)
        planted = await faults.inject(GpuOom(share=1.0), expires_s=5)
        before = len(await faults.planted())
        assert (await faults.remove(planted.fault_id)).fault == GpuOom(share=1.0)
        return before, len(await faults.planted())

    assert asyncio.run(scenario()) == (1, 0)
