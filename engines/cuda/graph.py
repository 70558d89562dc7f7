"""One CUDA graph: work captured once and replayed with one call. Source: MISSION row 55.

A graph belongs to one profile, one batch and one execution context, whose addresses and shapes it holds fast.
"""

import logging
from collections.abc import Callable
from enum import StrEnum

from engines.cuda.errors import CudaCallError
from engines.cuda.graph_driver import GraphDriver

LOG = logging.getLogger("sightline")


class GraphState(StrEnum):
    """Where a graph stands: not yet run, on its stream, or through."""

    PENDING = "pending"
    LAUNCHED = "launched"
    COMPLETED = "completed"


class CudaGraph:
    """A graph that one thread replays. `sequence` counts the launches, so that each completion names its own.

    The states change without locks, because they change only in the thread that owns the stream.
    """

    def __init__(self, driver: GraphDriver, executable: int) -> None:
        self.state = GraphState.PENDING
        self.sequence = 0
        self._driver = driver
        self._executable: int | None = executable

    @classmethod
    def captured(cls, driver: GraphDriver, stream: int, enqueue: Callable[[], None]) -> "CudaGraph":
        """Return what `enqueue` puts on the stream as a graph; CudaCallError where the driver refuses to capture it.

        `enqueue` must have run once plainly with these shapes: first runs allocate, which no graph may. An exception of
        its own comes through after the capture was ended.
        """
        driver.begin_capture(stream)
        try:
            enqueue()
        except BaseException:
            _abandon(driver, stream)
            raise
        graph = driver.end_capture(stream)
        try:
            return cls(driver, driver.instantiate(graph))
        finally:
            _destroy(driver, graph)

    def launch(self, stream: int) -> int:
        """Run it on the stream and return this launch's number; RuntimeError while the last one is not through."""
        if self._executable is None or self.state is GraphState.LAUNCHED:
            raise RuntimeError("a graph runs once at a time, and not after it was closed")
        self._driver.launch(self._executable, stream)
        self.sequence += 1
        self.state = GraphState.LAUNCHED
        return self.sequence

    def complete(self, sequence: int) -> bool:
        """Note that the launch of that number is through; False for a number of another launch, which changes nothing.

        To be called once the stream was synchronised.
        """
        if self.state is not GraphState.LAUNCHED or sequence != self.sequence:
            return False
        self.state = GraphState.COMPLETED
        return True

    def close(self) -> None:
        """Give the graph back; harmless when repeated. The stream must be idle."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            self._driver.destroy_executable(executable)


def _abandon(driver: GraphDriver, stream: int) -> None:
    """End a capture whose content nobody wants; what the driver says of it is of no use any more."""
    try:
        graph = driver.end_capture(stream)
    except CudaCallError:
        return
    _destroy(driver, graph)


def _destroy(driver: GraphDriver, graph: int) -> None:
    """Give a graph back; one that the driver does not take costs a little memory, and nothing of what runs."""
    try:
        driver.destroy_graph(graph)
    except CudaCallError as error:
        LOG.warning("a CUDA graph stays in memory: %s", str(error))
