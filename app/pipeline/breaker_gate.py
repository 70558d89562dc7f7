"""A breaker with its clock: the door before one part of which nobody knows whether it works."""

import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from app.core.errors import SightlineError, UnavailableError
from app.policy.breaker import (
    Admission,
    Breaker,
    BreakerParameters,
    BreakerState,
    Signal,
    admit,
    replaced,
    settle,
    signal_of,
)

T = TypeVar("T")
LEAST_WAIT_S: Final = 1.0


class BreakerGate:
    """Lets calls through while its breaker is closed. Safe for threads.

    `clock` gives monotonic seconds; `cpu_load`, in [0, 1], is that of the part behind, which decides whether a full
    queue counts.
    """

    def __init__(
        self,
        *,
        parameters: BreakerParameters | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu_load: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._parameters = parameters or BreakerParameters()
        self._clock = clock
        self._cpu_load = cpu_load
        self._breaker = Breaker()
        self._lock = threading.Lock()

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands."""
        return self._breaker.state

    @property
    def is_due(self) -> bool:
        """Whether a call would be let in now, were it only as the one that tries."""
        with self._lock:
            return admit(self._breaker, now_s=self._clock(), parameters=self._parameters)[1].is_admitted

    @property
    def cause(self) -> Signal | None:
        """What tripped it last: a full queue asks for another answer than a part that is gone."""
        return self._breaker.cause

    def call(self, work: Callable[[], T], *, says: Callable[[SightlineError], Signal] = signal_of) -> T:
        """The answer of `work`, not begun when the breaker is open; `says` is what its error tells of the part.

        UnavailableError says when to come again. What is no SightlineError tells nothing.
        """
        admission = self._enter()
        signal = Signal.UNKNOWN
        try:
            answer = work()
            signal = Signal.ANSWERED
        except SightlineError as error:
            signal = says(error)
            raise
        finally:
            self._leave(admission, signal)
        return answer

    def _enter(self) -> Admission:
        with self._lock:
            now_s = self._clock()
            self._breaker, admission = admit(self._breaker, now_s=now_s, parameters=self._parameters)
            wait_s = max(self._breaker.until_s - now_s, LEAST_WAIT_S)
        if not admission.is_admitted:
            raise UnavailableError("too many calls to it failed; it is tried again later", wait_s)
        return admission

    def _leave(self, admission: Admission, signal: Signal) -> None:
        jitter = random.random()  # noqa: S311  spreads callers in time
        with self._lock:
            self._breaker = settle(
                self._breaker,
                admission,
                signal,
                now_s=self._clock(),
                jitter=jitter,
                cpu_load=self._cpu_load(),
                parameters=self._parameters,
            )

    def replace(self) -> None:
        """The part behind was started anew: the next call tries it."""
        with self._lock:
            self._breaker = replaced(self._breaker, now_s=self._clock())
