"""A page-locked buffer is nobody else's until its stream was waited for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import DeviceLostError, DeviceMemoryError, UnavailableError
from engines.cuda.pinned import PinnedRing


class SimulatedHost:
    def __init__(self, *, capacity: int = 10) -> None:
        self.capacity = capacity
        self.live: list[int] = []

    def allocate(self, size_bytes: int) -> NDArray[np.uint8]:
        if len(self.live) == self.capacity:
            raise DeviceMemoryError
        buffer = np.zeros(size_bytes, np.uint8)
        self.live.append(id(buffer))
        return buffer

    def free(self, buffer: NDArray[np.uint8]) -> None:
        self.live.remove(id(buffer))


def test_a_buffer_in_flight_is_waited_for_before_it_is_lent_again() -> None:
    ring = PinnedRing(SimulatedHost(), count=1, size_bytes=8)
    waits: list[str] = []
    with ring.lease() as slot:
        slot.used_by(lambda: waits.append("stream"))
    assert waits == ["stream"]
    with ring.lease() as again:
        assert again is slot
        again.used_by(lambda: waits.append("never"))
        again.synchronised()
    assert waits == ["stream"]


def test_a_failed_call_waits_for_its_stream_too() -> None:
    ring = PinnedRing(SimulatedHost(), count=1, size_bytes=8)
    waits: list[str] = []

    def call() -> None:
        with ring.lease() as slot:
            slot.used_by(lambda: waits.append("stream"))
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        call()
    assert (waits, ring.lent) == (["stream"], 0)


def test_a_buffer_whose_stream_is_lost_is_not_lent_again() -> None:
    host = SimulatedHost()
    ring = PinnedRing(host, count=2, size_bytes=8)

    def lost() -> None:
        raise DeviceLostError

    with pytest.raises(DeviceLostError), ring.lease() as slot:
        slot.used_by(lost)
    assert (ring.condemned, ring.lent) == (1, 1)
    with ring.lease() as other:
        assert other is not slot
    ring.close()
    assert host.live == []


def test_a_caller_beyond_the_ring_is_told_so_in_time() -> None:
    ring = PinnedRing(SimulatedHost(), count=1, size_bytes=8)
    with ring.lease(), pytest.raises(UnavailableError), ring.lease(timeout_s=0.01):
        pass  # pragma: no cover - there is no second buffer


def test_a_ring_that_cannot_be_made_whole_leaves_nothing() -> None:
    host = SimulatedHost(capacity=2)
    with pytest.raises(DeviceMemoryError):
        PinnedRing(host, count=3, size_bytes=8)
    assert host.live == []
