"""One engine of the ladder: opened when it is needed, behind a breaker of its own, with batches that fit its memory."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DeviceMemoryError, SightlineError
from app.core.ports import Engine, RawOutput
from app.pipeline.breaker_gate import BreakerGate
from app.policy.breaker import BreakerParameters, BreakerState, Signal, signal_of
from app.policy.ladder import Rung

Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the engine of one rung is opened; `open` raises a SightlineError when it cannot be."""

    rung: Rung
    open: Callable[[], Engine]


class EngineSlot:
    """The engine of one rung. Safe for threads, as engines are; `clock` gives monotonic seconds.

    A batch that does not fit into the device's memory is halved until it does, and what fitted is remembered for
    `REGROW_S` seconds. A single picture that does not fit is the DeviceMemoryError of the caller.
    """

    REGROW_S: Final = 5.0

    def __init__(self, opening: Opening, *, clock: Callable[[], float], parameters: BreakerParameters) -> None:
        self.rung = opening.rung
        self.load_failures = 0
        self._open = opening.open
        self._clock = clock
        self._gate = BreakerGate(parameters=parameters, clock=clock)
        self._engine: Engine | None = None
        self._fits: int | None = None
        self._fitted_s = 0.0
        self._opening = threading.Lock()

    @property
    def breaker(self) -> BreakerState:
        """Where its breaker stands."""
        return self._gate.state

    @property
    def fits(self) -> int | None:
        """The largest batch that is tried now; None without a bound."""
        return self._fits

    def engine(self) -> Engine:
        """The engine, opened now if it is not yet; a SightlineError when it cannot be, and it may be tried again."""
        with self._opening:
            if self._engine is None:
                try:
                    self._engine = self._open()
                except SightlineError:
                    self.load_failures += 1
                    raise
            return self._engine

    def infer(self, pixels: Pictures) -> RawOutput:
        """The engine's rows; UnavailableError when its breaker is open, and whatever the engine raises."""
        engine = self.engine()
        admission = self._gate.enter()
        signal = Signal.UNKNOWN
        try:
            rows = self._in_portions(engine, pixels)
            signal = Signal.ANSWERED
        except DeviceMemoryError:
            raise  # full is not ill: the ladder decides, and the breaker has nothing to say
        except SightlineError as error:
            signal = signal_of(error)
            raise
        finally:
            self._gate.leave(admission, signal)
        return rows

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
