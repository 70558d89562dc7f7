"""PyCUDA's driver module over a simulated GPU: what is put on a stream happens when the stream is waited for.

Its classes are held to the real ones' signatures by `tests/config/test_gpu_fakes.py`. `GPU` is the device; a test takes
a new one with `plug_in`. What starts with an underscore is the simulation's own.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from engines.cuda.errors import CudaCallError, fault_in_words


class Error(Exception):
    pass


class RuntimeError(Error):  # noqa: A001 - PyCUDA's name
    pass


class LogicError(Error):
    pass


class MemoryError(Error):  # noqa: A001 - PyCUDA's name
    pass


class LaunchError(Error):
    pass


class _Gpu:
    """One device. `refusals` are words for the next call of a name; with `dead_of` set every call fails so.

    The call of number `fails_at` fails too, whatever it is.
    """

    def __init__(self, *, capacity_bytes: int = 1 << 30, name: str = "Simulated GPU") -> None:
        self.capacity_bytes = capacity_bytes
        self.name = name
        self.capability = (9, 0)
        self.is_there = True
        self.dead_of: str | None = None
        self.refusals: dict[str, str] = {}
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.pinned: dict[int, np.ndarray[Any, Any]] = {}
        self.contexts = 0
        self.fails_at = 0
        self.next_address = 1 << 21
        self.misalignment = 0
        self.streams: dict[int, Stream] = {}

    def called(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        if self.dead_of is not None:
            raise LogicError(f"{name} failed: {self.dead_of}")
        if len(self.calls) == self.fails_at:
            raise LogicError(f"{name} failed: invalid argument")
        if words := self.refusals.pop(name, None):
            raise (MemoryError if words == "out of memory" else LogicError)(f"{name} failed: {words}")

    @property
    def used_bytes(self) -> int:
        return sum(len(block) for block in self.blocks.values())

    def at(self, address: int) -> np.ndarray[Any, Any]:
        """The memory from an address to its block's end."""
        for start, block in self.blocks.items():
            if start <= address < start + len(block):
                return block[address - start :]
        raise AssertionError(f"nothing lies at {address:#x}")


GPU = _Gpu()


def plug_in(**settings: Any) -> _Gpu:
    """Return a new GPU, which the module talks to from now on."""
    global GPU  # noqa: PLW0603 - a driver is a global thing
    GPU = _Gpu(**settings)
    return GPU


def init(flags: int = 0) -> None:
    del flags
    GPU.called("cuInit")


def get_driver_version() -> int:
    GPU.called("cuDriverGetVersion")
    return 13000


class Context:
    handle = 0

    def push(self) -> None:
        GPU.called("cuCtxPushCurrent")

    @staticmethod
    def pop() -> None:
        GPU.called("cuCtxPopCurrent")

    @staticmethod
    def synchronize() -> None:
        GPU.called("cuCtxSynchronize")

    def detach(self) -> None:
        GPU.called("cuDevicePrimaryCtxRelease")
        GPU.contexts -= 1


class Device:
    def __init__(self, number: int) -> None:
        GPU.called("cuDeviceGet")
        assert number == 0

    def name(self) -> str:
        return GPU.name

    def compute_capability(self) -> tuple[int, int]:
        return GPU.capability

    def retain_primary_context(self) -> Context:
        GPU.called("cuDevicePrimaryCtxRetain")
        GPU.contexts += 1
        return Context()


class Stream:
    def __init__(self, flags: int = 0) -> None:
        GPU.called("cuStreamCreate")
        assert flags == 1
        self._waiting: list[Callable[[], None]] = []
        self._captured: list[Callable[[], None]] | None = None
        GPU.streams[self.handle] = self

    @property
    def handle(self) -> int:
        return id(self)

    def synchronize(self) -> None:
        GPU.called("cuStreamSynchronize")
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()

    def _put(self, work: Callable[[], None]) -> None:
        (self._waiting if self._captured is None else self._captured).append(work)


class DeviceAllocation:
    def __init__(self, address: int) -> None:
        self._address = address

    def free(self) -> None:
        GPU.called("cuMemFree")
        del GPU.blocks[self._address]

    def __int__(self) -> int:
        return self._address


class PagelockedHostAllocation:
    def __init__(self, size_bytes: int) -> None:
        self._memory = np.zeros(size_bytes, np.uint8)
        self.__array_interface__ = self._memory.__array_interface__
        GPU.pinned[id(self)] = self._memory

    def free(self) -> None:
        GPU.called("cuMemFreeHost")
        del GPU.pinned[id(self)]


class host_alloc_flags:  # noqa: N801 - PyCUDA's name
    PORTABLE = 1


def mem_alloc(bytes: int) -> DeviceAllocation:  # noqa: A002 - PyCUDA's name
    GPU.called("cuMemAlloc")
    if GPU.used_bytes + bytes > GPU.capacity_bytes:
        raise MemoryError("cuMemAlloc failed: out of memory")
    address = GPU.next_address + GPU.misalignment
    GPU.next_address += -(-(bytes + GPU.misalignment) // (1 << 21)) * (1 << 21)
    GPU.blocks[address] = np.full(bytes, 0xAB, np.uint8)
    return DeviceAllocation(address)


def pagelocked_empty(shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
    GPU.called("cuMemHostAlloc")
    assert (np.dtype(dtype), order, mem_flags) == (np.dtype(np.uint8), "C", 1)
    return np.asarray(PagelockedHostAllocation(shape))


def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
    GPU.called("cuMemcpyHtoDAsync")

    def copy() -> None:
        GPU.at(int(dest))[: len(src)] = src

    stream._put(copy)


def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
    GPU.called("cuMemcpyDtoHAsync")

    def copy() -> None:
        dest[:] = GPU.at(int(src))[: len(dest)]

    stream._put(copy)


class SimulatedGraphs:
    """The GraphDriver of the simulated GPU; a name in `refusals` is refused once, with the words."""

    def __init__(self) -> None:
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self._number = 0

    def begin_capture(self, stream: int) -> None:
        self._called("cuStreamBeginCapture")
        GPU.streams[stream]._captured = []

    def end_capture(self, stream: int) -> int:
        captured, GPU.streams[stream]._captured = GPU.streams[stream]._captured, None
        self._called("cuStreamEndCapture")
        self._number += 1
        self.graphs[self._number] = captured or []
        return self._number

    def instantiate(self, graph: int) -> int:
        self._called("cuGraphInstantiate")
        self._number += 1
        self.executables[self._number] = self.graphs[graph]
        return self._number

    def launch(self, executable: int, stream: int) -> None:
        self._called("cuGraphLaunch")
        self.launches += 1
        for work in self.executables[executable]:
            GPU.streams[stream]._put(work)

    def destroy_executable(self, executable: int) -> None:
        self._called("cuGraphExecDestroy")
        del self.executables[executable]

    def destroy_graph(self, graph: int) -> None:
        self._called("cuGraphDestroy")
        del self.graphs[graph]

    def _called(self, name: str) -> None:
        try:
            GPU.called(name)
        except Error as error:
            raise CudaCallError(str(error), fault_in_words(str(error))) from None
