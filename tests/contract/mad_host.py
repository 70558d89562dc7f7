"""A model's process that misbehaves on demand: on loading by the model's name, in a call by the first pixel's red."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, TooLargeError
from app.core.ports import RawOutput
from engines.host import main
from engines.reference import ReferenceEngine

SIDE_PX: Final = 64
SECRET: Final = "s3cret-Passw0rd"  # noqa: S105
SEGFAULT, EXIT, HANG, RAISE, REFUSE, MISSHAPE, NAP = range(10, 17)
"""What the first pixel's red asks for."""
NAP_S: Final = 0.3


class MadEngine(ReferenceEngine):
    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        match int(pixels[0][0, 0, 0]):
            case 10:
                signal.raise_signal(signal.SIGSEGV)
            case 11:
                os._exit(3)
            case 12:
                time.sleep(60)
            case 13:
                raise RuntimeError(SECRET)
            case 14:
                raise TooLargeError("too large for this test")
            case 15:
                return np.zeros((len(pixels), 1, 6), np.float32)
            case 16:
                time.sleep(NAP_S)
        return super().infer(pixels)


class WritingEngine(ReferenceEngine):
    """Has its rows nowhere but where it is told to write them, once it has shown their shape."""

    n_calls = 0

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        assert self.n_calls == 0
        self.n_calls += 1
        return super().infer(pixels)

    def infer_into(self, pixels: Sequence[NDArray[np.uint8]], rows: RawOutput) -> None:
        rows[:] = super().infer(pixels)


def slow(_model: Path) -> None:
    time.sleep(60)


def leisurely(_model: Path) -> None:
    time.sleep(NAP_S)


def crash(_model: Path) -> None:
    signal.raise_signal(signal.SIGSEGV)


def fail(_model: Path) -> None:
    raise RuntimeError(SECRET)


def refuse(_model: Path) -> None:
    raise ModelError("this model is refused")


def hungry(_model: Path) -> None:
    np.ones(1 << 30)  # 8 GiB of address space


def talk(_model: Path) -> None:
    logging.getLogger("sightline").warning("a word from the model's process")


def once(model: Path) -> None:
    """Opens the first time only; the file is the memory of that."""
    if not model.exists():
        raise ModelError("the model is gone")
    model.unlink()


ODDITIES: Final[Mapping[str, Callable[[Path], None]]] = {
    case.__name__: case for case in (slow, leisurely, crash, fail, refuse, hungry, talk, once)
}


def open_mad(model: Path | None, *, streams: int | None, **_opening: Any) -> ReferenceEngine:
    if model is not None and model.name == "writing":
        return WritingEngine(width_px=SIDE_PX, height_px=SIDE_PX)
    if model is not None:
        ODDITIES[model.name](model)
    return MadEngine(width_px=SIDE_PX, height_px=SIDE_PX, streams=streams or 1)


if __name__ == "__main__":
    main(sys.argv[1:], opener=open_mad)
