"""The parts of the TensorRT engine that need a GPU and PyCUDA, but no TensorRT: memory, copies, graphs, NVML.

They skip without a GPU, and fail without one where FAIL_WITHOUT_GPU=1.
"""

import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TypeVar

import numpy as np
import pytest

from app.core.errors import DeviceMemoryError
from engines.cuda.bindings import Bindings, cuda_available
from engines.cuda.device import Device, DeviceMemory, HostMemory
from engines.cuda.graph import CudaGraph, GraphState
from engines.cuda.graph_driver import LibCuda
from engines.cuda.memory_pool import MIB, MemoryPool
from engines.cuda.pinned import PinnedRing

T = TypeVar("T")
must_run = os.environ.get("FAIL_WITHOUT_GPU") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda_available() and not must_run, reason="this machine has no GPU"),
]


@pytest.fixture
def bindings() -> Bindings:
    try:
        from pycuda import driver
    except ImportError:
        if must_run:
            raise
        pytest.skip("PyCUDA is not installed")
    graphs = LibCuda.load()
    return Bindings(trt=ModuleType("absent"), cuda=driver, graphs=graphs, is_available=cuda_available)


@pytest.fixture
def device(bindings: Bindings) -> Iterator[Device]:
    opened = Device(bindings)
    yield opened
    opened.close(lambda: None)


def free_bytes(bindings: Bindings) -> int:
    return int(bindings.cuda.mem_get_info()[0])


def test_the_pool_keeps_what_it_lends_and_gives_all_of_it_back(bindings: Bindings, device: Device) -> None:
    def work() -> tuple[int, int, int]:
        before = free_bytes(bindings)
        pool = MemoryPool(DeviceMemory(bindings))
        leases = [pool.lease(size) for size in (5000, 100_000, 3 * MIB, 300 * MIB)]
        assert [lease.address % 4096 for lease in leases] == [0] * 4
        held = before - free_bytes(bindings)
        for lease in leases:
            lease.release()
        assert pool.lease(3 * MIB).address == leases[2].address
        pool.trim()
        return before, held, free_bytes(bindings)

    before, held, after = device.call(work)
    assert held >= 304 * MIB
    assert before - after <= 4 * MIB  # the one lease that was not given back


def test_more_than_there_is_is_a_typed_error_and_the_device_goes_on(bindings: Bindings, device: Device) -> None:
    def too_much() -> None:
        MemoryPool(DeviceMemory(bindings)).lease(2 * int(bindings.cuda.mem_get_info()[1]))

    with pytest.raises(DeviceMemoryError):
        device.call(too_much)
    assert not device.is_broken
    device.call(device.check_alive)


def test_pinned_copies_come_back_as_they_went(bindings: Bindings, device: Device) -> None:
    def work() -> bool:
        pool = MemoryPool(DeviceMemory(bindings))
        ring = PinnedRing(HostMemory(bindings), count=2, size_bytes=1_228_800)
        expected = np.random.default_rng(3).integers(0, 256, 1_228_800, dtype=np.uint8)
        with pool.lease(1_228_800) as memory, ring.lease() as source, ring.lease() as target:
            source.buffer[:] = expected
            for slot in (source, target):
                slot.used_by(device.synchronise)
            bindings.cuda.memcpy_htod_async(memory.address, source.buffer, device.stream)
            bindings.cuda.memcpy_dtoh_async(target.buffer, memory.address, device.stream)
            device.synchronise()
            is_same = bool((target.buffer == expected).all())
        ring.close()
        pool.trim()
        return is_same

    assert device.call(work)


def captured_copy(bindings: Bindings, device: Device, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Capture a copy from one block to another, change the first, replay, and return what the second holds."""
    pool = MemoryPool(DeviceMemory(bindings))
    ring = PinnedRing(HostMemory(bindings), count=1, size_bytes=4096)
    with pool.lease(4096) as first, pool.lease(4096) as second, ring.lease() as slot:
        assert bindings.graphs is not None

        def copy() -> None:
            bindings.cuda.memcpy_dtod_async(second.address, first.address, 4096, device.stream)

        copy()
        device.synchronise()
        graph = CudaGraph.captured(bindings.graphs, device.stream.handle, copy)
        fill(slot.buffer)
        bindings.cuda.memcpy_htod_async(first.address, slot.buffer, device.stream)
        number = graph.launch(device.stream.handle)
        bindings.cuda.memcpy_dtoh_async(slot.buffer, second.address, device.stream)
        device.synchronise()
        assert graph.complete(number)
        assert graph.state is GraphState.COMPLETED
        graph.close()
        answer = slot.buffer.copy()
    ring.close()
    pool.trim()
    return answer


def test_a_replayed_graph_works_on_what_lies_there_now(bindings: Bindings, device: Device) -> None:
    for value in (7, 200):
        answer = device.call(captured_copy, bindings, device, lambda buffer, value=value: buffer.fill(value))
        assert (answer == value).all()


def test_nvml_sees_what_the_pool_holds(bindings: Bindings, device: Device) -> None:
    pynvml = pytest.importorskip("pynvml") if not must_run else __import__("pynvml")
    pynvml.nvmlInit()
    try:
        name = device.call(lambda: bindings.cuda.Device(0).pci_bus_id())
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(name.encode())
        before = pynvml.nvmlDeviceGetMemoryInfo(handle).used
        pool = device.call(lambda: MemoryPool(DeviceMemory(bindings)))
        lease = device.call(pool.lease, 512 * MIB)
        held = pynvml.nvmlDeviceGetMemoryInfo(handle).used - before
        device.call(lease.release)
        device.call(pool.trim)
    finally:
        pynvml.nvmlShutdown()
    assert held >= 500 * MIB
