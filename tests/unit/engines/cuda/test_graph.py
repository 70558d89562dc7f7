"""A graph is captured once, launched once at a time, and given back."""

import pytest

from engines.cuda.errors import CudaCallError
from engines.cuda.graph import CudaGraph, GraphState
from tests import fake_pycuda
from tests.fake_pycuda import SimulatedGraphs


@pytest.fixture
def stream() -> fake_pycuda.Stream:
    fake_pycuda.plug_in()
    return fake_pycuda.Stream(1)


def test_what_was_captured_runs_at_each_launch_and_not_before(stream: fake_pycuda.Stream) -> None:
    driver, runs = SimulatedGraphs(), []
    graph = CudaGraph.captured(driver, stream.handle, lambda: stream._put(lambda: runs.append("run")))
    stream.synchronize()
    assert (runs, graph.state, graph.sequence) == ([], GraphState.PENDING, 0)
    for number in (1, 2, 3):
        assert graph.launch(stream.handle) == number
        assert graph.state is GraphState.LAUNCHED
        stream.synchronize()
        assert graph.complete(number)
        assert graph.state is GraphState.COMPLETED
    assert runs == ["run"] * 3
    graph.close()
    graph.close()
    assert (driver.graphs, driver.executables) == ({}, {})


def test_a_completion_of_an_earlier_launch_changes_nothing(stream: fake_pycuda.Stream) -> None:
    graph = CudaGraph.captured(SimulatedGraphs(), stream.handle, lambda: None)
    first = graph.launch(stream.handle)
    graph.complete(first)
    second = graph.launch(stream.handle)
    assert not graph.complete(first)
    assert graph.state is GraphState.LAUNCHED
    assert graph.complete(second)
    assert not graph.complete(second)


def test_a_graph_on_its_way_or_closed_is_not_launched(stream: fake_pycuda.Stream) -> None:
    graph = CudaGraph.captured(SimulatedGraphs(), stream.handle, lambda: None)
    graph.launch(stream.handle)
    with pytest.raises(RuntimeError, match="once at a time"):
        graph.launch(stream.handle)
    graph.complete(1)
    graph.close()
    with pytest.raises(RuntimeError, match="closed"):
        graph.launch(stream.handle)


def test_a_launch_that_is_refused_is_no_launch(stream: fake_pycuda.Stream) -> None:
    graph = CudaGraph.captured(SimulatedGraphs(), stream.handle, lambda: None)
    fake_pycuda.GPU.refusals["cuGraphLaunch"] = "invalid argument"
    with pytest.raises(CudaCallError):
        graph.launch(stream.handle)
    assert (graph.state, graph.sequence) == (GraphState.PENDING, 0)


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_a_refused_capture_leaves_no_graph_and_a_stream_that_runs(stream: fake_pycuda.Stream, call: str) -> None:
    driver, runs = SimulatedGraphs(), []
    fake_pycuda.GPU.refusals[call] = "operation not permitted when stream is capturing"
    with pytest.raises(CudaCallError) as caught:
        CudaGraph.captured(driver, stream.handle, lambda: None)
    assert caught.value.fault is not None
    assert (caught.value.fault.code, driver.graphs, driver.executables) == (900, {}, {})
    stream._put(lambda: runs.append("run"))
    stream.synchronize()
    assert runs == ["run"]


def test_what_fails_while_it_is_captured_comes_through_after_the_capture_ended(stream: fake_pycuda.Stream) -> None:
    driver = SimulatedGraphs()

    def refuse() -> None:
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        CudaGraph.captured(driver, stream.handle, refuse)
    assert (stream._captured, driver.graphs) == (None, {})
