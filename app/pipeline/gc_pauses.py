"""How long the interpreter stood still for its garbage collector."""

import gc
import time
from collections import deque
from typing import Literal

_MOST: int = 10_000
"""Pauses that wait to be taken; the collector of a busy process runs some hundred times a second."""


class GcPauses:
    """Hears of every collection from `begin` to `end`.

    The collector calls in the middle of any line, whichever lock that line holds: so nothing here waits for a lock, and
    the pauses are put down in a deque, from which one thread takes them.
    """

    def __init__(self) -> None:
        self._pauses: deque[tuple[int, float]] = deque(maxlen=_MOST)
        self._since_s: float | None = None

    def begin(self) -> None:
        """Listen; twice is once."""
        if self._heard not in gc.callbacks:
            gc.callbacks.append(self._heard)

    def end(self) -> None:
        """Listen no longer."""
        if self._heard in gc.callbacks:
            gc.callbacks.remove(self._heard)

    def take(self) -> list[tuple[int, float]]:
        """The generation and the seconds of each pause since the last call."""
        return [self._pauses.popleft() for _ in range(len(self._pauses))]

    def _heard(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._since_s = now_s
        elif self._since_s is not None:
            self._pauses.append((info["generation"], now_s - self._since_s))
            self._since_s = None
