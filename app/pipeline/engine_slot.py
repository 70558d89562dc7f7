"""One engine of the ladder: opened when it is needed, behind breakers of its own, with batches that fit its memory."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DeviceMemoryError, SightlineError
from app.core.ports import Breakable, Engine, RawOutput
from app.pipeline.breaker_gate import BreakerGate
from app.policy.breaker import BreakerParameters, BreakerState, Signal
from app.policy.ladder import Rung

Pictures = Sequence[NDArray[np.uint8]]
LOADING: Final = BreakerParameters(open_s=2.0, max_open_s=8.0)
"""A load that failed takes seconds of the cores each time it is tried. Never so long that an engine whose fault is over
would be missed for 21 s: three good probes, 2 s apart, come on top of this. Source: `fault_plan.MAX_RECOVERY_S`."""


@runtime_checkable
class Restarting(Protocol):
    """An engine whose part behind it is started anew when it dies."""

    @property
    def n_restarts(self) -> int:
        """How often that happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the engine of one rung is opened; `open` raises a SightlineError when it cannot be."""

    rung: Rung
    open: Callable[[], Engine]


class EngineSlot:
    """The engine of one rung. Safe for threads, as engines are; `clock` gives monotonic seconds.

    A batch that does not fit into the device's memory is halved until it does, and what fitted is remembered for
    `REGROW_S` seconds. A single picture that does not fit is the DeviceMemoryError of the caller. Calls have a breaker,
    which tries anew as soon as the part behind the engine was replaced; so have loads.
    """

    REGROW_S: Final = 5.0

    def __init__(self, opening: Opening, *, clock: Callable[[], float], parameters: BreakerParameters) -> None:
        self.rung = opening.rung
        self.load_failures = 0
        self._open = opening.open
        self._clock = clock
        self._gate = BreakerGate(parameters=parameters, clock=clock)
        self._loading = BreakerGate(parameters=LOADING, clock=clock)
        self._restarting: Restarting | None = None
        self._restarts = 0
        self._engine: Engine | None = None
        self._fits: int | None = None
        self._fitted_s = 0.0
        self._opening = threading.Lock()

    @property
    def breaker(self) -> BreakerState:
        """Where its breaker stands."""
        return self._gate.state

    @property
    def is_resting(self) -> bool:
        """Whether it could not be loaded a moment ago and is not tried yet."""
        return self._engine is None and not self._loading.is_due

    @property
    def is_broken(self) -> bool:
        """Whether the engine has come to its end in this process."""
        engine: object = self._engine
        return isinstance(engine, Breakable) and engine.is_broken

    @property
    def fits(self) -> int | None:
        """The largest batch that is tried now; None without a bound."""
        return self._fits

    def engine(self) -> Engine:
        """The engine, opened now if it is not yet; a SightlineError when it cannot be, and later it is tried again."""
        with self._opening:
            if self._engine is None:
                opened = self._engine = self._opened()
                # Asked only once: 40 us for each call otherwise.
                self._restarting = opened if isinstance(opened, Restarting) else None
            return self._engine

    def _opened(self) -> Engine:
        # One failure is enough: the next load would fail as this one did.
        return self._loading.call(self._loaded, says=lambda _: Signal.CONNECT_FAILED)

    def _loaded(self) -> Engine:
        try:
            return self._open()
        except SightlineError:
            self.load_failures += 1
            raise

    def infer(self, pixels: Pictures) -> RawOutput:
        """The engine's rows; UnavailableError when its breaker is open, and whatever the engine raises."""
        engine = self.engine()
        if self._restarting is not None and self._restarting.n_restarts != self._restarts:
            self._restarts = self._restarting.n_restarts
            self._gate.replace()
        return self._gate.call(lambda: self._in_portions(engine, pixels))

    def close(self) -> None:
        """Give the engine's memory back."""
        with self._opening:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _in_portions(self, engine: Engine, pixels: Pictures) -> RawOutput:
        """The batch in portions that fit; the first refusal halves them, down to single pictures."""
        if self._fits is not None and self._clock() - self._fitted_s >= self.REGROW_S:
            self._fits = None
        done: list[RawOutput] = []
        start = 0
        while start < len(pixels) or not done:
            size = min(len(pixels) - start, self._fits or len(pixels))
            try:
                done.append(engine.infer(pixels[start : start + size]))
            except DeviceMemoryError:
                if size <= 1:
                    self._fits = None
                    raise
                self._fits, self._fitted_s = size // 2, self._clock()
                continue
            start += size
        return done[0] if len(done) == 1 else np.concatenate(done)
