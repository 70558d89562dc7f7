"""CUDA's graph calls, which PyCUDA does not have, made on the driver's library itself.

Source: CUDA driver API, graph management and stream capture.
"""

import ctypes
from ctypes import CDLL, byref, c_int, c_ulonglong, c_void_p
from typing import Protocol

from engines.cuda.errors import CudaCallError, fault_of_code

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do does not spoil a capture


class GraphDriver(Protocol):
    """Captures what is put on a stream and replays it. Handles are its numbers; CudaCallError when it refuses."""

    def begin_capture(self, stream: int) -> None:
        """From now on the stream notes what it is given and runs nothing."""

    def end_capture(self, stream: int) -> int:
        """Return the graph of what was noted; the stream runs again, also after a refusal."""

    def instantiate(self, graph: int) -> int:
        """Return the graph made ready to run."""

    def launch(self, executable: int, stream: int) -> None:
        """Run it on the stream, in order with what else stands there."""

    def destroy_executable(self, executable: int) -> None:
        """Give it back."""

    def destroy_graph(self, graph: int) -> None:
        """Give it back; executables made of it stay."""


class LibCuda:
    """The GraphDriver of the machine's own driver."""

    def __init__(self, library: CDLL) -> None:
        self._begin = _function(library, "cuStreamBeginCapture_v2", c_void_p, c_int)
        self._end = _function(library, "cuStreamEndCapture", c_void_p, c_void_p)
        self._instantiate = _function(library, "cuGraphInstantiateWithFlags", c_void_p, c_void_p, c_ulonglong)
        self._launch = _function(library, "cuGraphLaunch", c_void_p, c_void_p)
        self._destroy_executable = _function(library, "cuGraphExecDestroy", c_void_p)
        self._destroy_graph = _function(library, "cuGraphDestroy", c_void_p)

    @classmethod
    def load(cls) -> "LibCuda | None":
        """Return the machine's driver; None where it is missing or older than graphs with flags, CUDA 11.4."""
        try:
            return cls(ctypes.CDLL("libcuda.so.1"))
        except (OSError, AttributeError):
            return None

    def begin_capture(self, stream: int) -> None:
        """From now on the stream notes what it is given and runs nothing."""
        _check("cuStreamBeginCapture", self._begin(stream, _THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """Return the graph of what was noted; the stream runs again, also after a refusal."""
        graph = c_void_p()
        _check("cuStreamEndCapture", self._end(stream, byref(graph)))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """Return the graph made ready to run."""
        executable = c_void_p()
        _check("cuGraphInstantiate", self._instantiate(byref(executable), graph, 0))
        return executable.value or 0

    def launch(self, executable: int, stream: int) -> None:
        """Run it on the stream, in order with what else stands there."""
        _check("cuGraphLaunch", self._launch(executable, stream))

    def destroy_executable(self, executable: int) -> None:
        """Give it back."""
        _check("cuGraphExecDestroy", self._destroy_executable(executable))

    def destroy_graph(self, graph: int) -> None:
        """Give it back; executables made of it stay."""
        _check("cuGraphDestroy", self._destroy_graph(graph))


def _function(library: CDLL, name: str, *arguments: type) -> "ctypes._NamedFuncPointer":
    function = library[name]
    function.argtypes = list(arguments)
    function.restype = c_int
    return function


def _check(call: str, status: int) -> None:
    if status:
        fault = fault_of_code(status)
        raise CudaCallError(f"{call} failed: {fault.name if fault else status}", fault)
