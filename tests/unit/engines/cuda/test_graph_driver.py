"""The driver's graph calls get what its header says, and its refusals become errors."""

from collections.abc import Callable
from typing import Any

import pytest

from engines.cuda.errors import CudaCallError
from engines.cuda.graph_driver import LibCuda


class Function:
    """One entry point; the handle that it gives back is 77."""

    def __init__(self, name: str, library: "Library") -> None:
        self.name = name
        self.argtypes: list[type] = []
        self.restype: type | None = None
        self._library = library

    def __call__(self, *arguments: Any) -> int:
        assert len(arguments) == len(self.argtypes)
        self._library.calls.append((self.name, *(one for one in arguments if isinstance(one, int))))
        for pointer in arguments:
            if hasattr(pointer, "_obj"):
                pointer._obj.value = 77
        return self._library.status


class Library:
    def __init__(self, *, status: int = 0) -> None:
        self.status = status
        self.calls: list[tuple[Any, ...]] = []

    def __getitem__(self, name: str) -> Function:
        return Function(name, self)


def test_calls_and_handles_are_those_of_the_header() -> None:
    library = Library()
    driver = LibCuda(library)
    driver.begin_capture(5)
    assert driver.end_capture(5) == 77
    assert driver.instantiate(77) == 77
    driver.launch(77, 5)
    driver.destroy_executable(77)
    driver.destroy_graph(77)
    assert library.calls == [
        ("cuStreamBeginCapture_v2", 5, 1),
        ("cuStreamEndCapture", 5),
        ("cuGraphInstantiateWithFlags", 77, 0),
        ("cuGraphLaunch", 77, 5),
        ("cuGraphExecDestroy", 77),
        ("cuGraphDestroy", 77),
    ]


CALLS: list[Callable[[LibCuda], object]] = [
    lambda driver: driver.begin_capture(5),
    lambda driver: driver.end_capture(5),
    lambda driver: driver.instantiate(77),
    lambda driver: driver.launch(77, 5),
    lambda driver: driver.destroy_executable(77),
    lambda driver: driver.destroy_graph(77),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "words"), [(700, "CUDA_ERROR_ILLEGAL_ADDRESS"), (4242, "4242")])
def test_a_refusal_is_an_error_with_its_name(call: Callable[[LibCuda], object], status: int, words: str) -> None:
    with pytest.raises(CudaCallError, match=words):
        call(LibCuda(Library(status=status)))
