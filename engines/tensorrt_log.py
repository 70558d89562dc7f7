"""What TensorRT says: its calls return None or False, and only the log knows why."""

import logging
from collections import deque
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from app.core.errors import ModelError
from engines.cuda.bindings import subclassed

if TYPE_CHECKING:
    import tensorrt as trt

LOG = logging.getLogger("sightline")
T = TypeVar("T")
_KEPT = 4
_MAX_WORDS = 300


class TensorRtLog:
    """TensorRT's logger, called from any of its threads. It outlives every object that was made with it."""

    def __init__(self) -> None:
        super().__init__()  # the C++ side, where this is mixed with it
        self._words: deque[str] = deque(maxlen=_KEPT)

    def log(self, severity: "trt.ILogger.Severity", msg: str) -> None:
        """Pass the message on, and keep it if it is an error. Nothing may be raised here: C++ called."""
        level = _LEVELS.get(str(severity.name), logging.DEBUG)
        LOG.log(level, "tensorrt: %s", msg)
        if level >= logging.ERROR:
            self._words.append(msg)

    def clear(self) -> None:
        """Forget what was said, so that later words are of later calls."""
        self._words.clear()

    def last_words(self) -> str:
        """Return the latest errors, the last one first; words of our own where there were none."""
        return "; ".join(reversed(self._words))[:_MAX_WORDS] or "TensorRT does not say why"

    def made(self, value: T | None, what: str) -> T:
        """Return the value; ModelError with the last words where it is None or False: `what` could not be had."""
        if value is None or value is False:
            raise ModelError(f"TensorRT gives no {what}: {self.last_words()}")
        return value


_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,  # TensorRT's information is a build's every step
    "VERBOSE": logging.DEBUG,
}


@cache
def process_log(trt: ModuleType) -> TensorRtLog:
    """Return this process's log, which TensorRT accepts as its own.

    There is one, and it is never freed: TensorRT goes on using the first that it was given, in parts of the library
    that no object of ours stands for.
    """
    return subclassed(TensorRtLog, trt.ILogger)()
