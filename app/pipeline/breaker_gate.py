"""A breaker with its clock: the door before one part, be that an engine in this process or a handle to another."""

import random
import threading
import time
from collections.abc import Awaitable, Callable
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
    """Lets calls through while its breaker is closed. Safe for threads and for tasks.

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
    def cause(self) -> Signal | None:
        """What tripped it last: a full queue asks for another answer than a part that is gone."""
        return self._breaker.cause

    def enter(self) -> Admission:
        """Leave to call, to be given back to `leave`; UnavailableError says when to come again."""
        with self._lock:
            now_s = self._clock()
            self._breaker, admission = admit(self._breaker, now_s=now_s, parameters=self._parameters)
            wait_s = max(self._breaker.until_s - now_s, LEAST_WAIT_S)
        if not admission.is_admitted:
            raise UnavailableError("too many calls to it failed; it is tried again later", wait_s)
        return admission

    def leave(self, admission: Admission, signal: Signal) -> None:
        """Say what came of the call."""
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

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The answer of `work`, not begun when the breaker is open. A caller that is cancelled says nothing."""
        admission = self.enter()
        signal = Signal.UNKNOWN
        try:
            answer = await work()
            signal = Signal.ANSWERED
        except SightlineError as error:
            signal = signal_of(error)
            raise
        finally:
            self.leave(admission, signal)
        return answer
