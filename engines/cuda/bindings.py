"""The modules that an engine on a GPU works with, given to it as one value: the real ones, or fakes in tests."""

import ctypes
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from app.core.errors import UnavailableError
from engines.cuda.graph_driver import GraphDriver, LibCuda

LOG = logging.getLogger("sightline")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """`trt` is the module tensorrt 11, `cuda` is pycuda.driver, `graphs` captures and replays, None for never.

    `is_available` says whether CUDA can be initialised: without that, TensorRT's objects end the process, so it is
    asked before any of them is made.
    """

    trt: ModuleType
    cuda: ModuleType
    graphs: GraphDriver | None
    is_available: Callable[[], bool]

    def check(self) -> None:
        """Raise an UnavailableError where there is no GPU."""
        if not self.is_available():
            raise UnavailableError("this machine has no usable NVIDIA GPU")


def cuda_available() -> bool:
    """Return whether CUDA's driver is there and finds a device for this process."""
    try:
        return int(ctypes.CDLL("libcuda.so.1").cuInit(0)) == 0
    except OSError:
        return False


def load_bindings() -> Bindings:
    """Return the real modules; UnavailableError without a GPU or without one of them. CUDA is probed first."""
    if not cuda_available():
        raise UnavailableError("this machine has no usable NVIDIA GPU")
    cuda = _first("pycuda.driver", otherwise="PyCUDA is not installed, or not for this driver")
    # The wheel of the bindings alone calls them by the second name.
    trt = _first("tensorrt", "tensorrt_bindings", otherwise="TensorRT's bindings or its libraries are not installed")
    return Bindings(trt=trt, cuda=cuda, graphs=LibCuda.load(), is_available=cuda_available)


def _first(*names: str, otherwise: str) -> ModuleType:
    """Return the first of the modules that can be imported; UnavailableError for none."""
    refusals: list[str] = []
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            refusals.append(str(error))
    LOG.info("%s: %s", otherwise, "; ".join(refusals))
    raise UnavailableError(otherwise)


def subclassed(ours: type[T], theirs: type) -> Callable[..., T]:
    """Return our class as a subclass of a runtime's, whose C++ side calls only what inherits from its own.

    `theirs` exists only where the runtime is installed, so no class of ours can name it.
    """
    return type(ours.__name__, (ours, theirs), {})
