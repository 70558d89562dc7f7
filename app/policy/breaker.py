"""A breaker before one part: when calls to it stop, how long, and which one tries it again. Source: MISSION row 94.

| state     | admits    | leaves for                                                                            |
|-----------|-----------|---------------------------------------------------------------------------------------|
| CLOSED    | all       | OPEN: enough of enough calls failed, or nobody was there at all                        |
| OPEN      | none      | HALF_OPEN: its time is over, or the part behind it was replaced                        |
| HALF_OPEN | one probe | CLOSED: the probe was answered; OPEN: it failed, or did not come back and a next one did |

Only our own reasons count. A bad picture is the caller's fault and shows that the part works; gRPC's UNAVAILABLE and
RESOURCE_EXHAUSTED are never read, because an oversized message has the same status as a full queue.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.core.errors import (
    DeadlineError,
    DeviceMemoryError,
    MovedError,
    OverloadedError,
    SightlineError,
    UnavailableError,
)

BUCKET_S: Final = 1.0
"""The window is counted in pieces of this length, so that its memory does not grow with the traffic."""
DOUBLINGS: Final = 10
"""The exponent of the back-off stops here: 2.0 ** 1024 does not exist."""


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Signal(StrEnum):
    """What one call says of the part behind the breaker."""

    ANSWERED = "answered"  # also by an error that is the caller's
    UNAVAILABLE = "unavailable"  # the part died with the call, or says that it is ill
    BACKPRESSURE = "backpressure"  # its queue is full
    CONNECT_FAILED = "connect_failed"  # nobody was there
    UNKNOWN = "unknown"  # the caller's time was over first, or the call too large; nothing is known of the part


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerParameters:
    """Trips when `trip_ratio` of at least `min_calls` in the last `window_s` seconds failed.

    A full queue counts as a failure only while the part's CPU load is above `hot_cpu`. Open for `open_s` seconds; each
    further trip may double that, up to `max_open_s`, until the breaker has stayed closed for `forget_s`. A probe that
    is not back after `probe_s` seconds is given up.
    """

    window_s: float = 10.0
    min_calls: int = 10
    trip_ratio: float = 0.5
    hot_cpu: float = 0.85  # Source: MISSION row 94
    open_s: float = 30.0  # Source: MISSION row 94
    max_open_s: float = 300.0
    forget_s: float = 60.0
    probe_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One breaker. `cause` is what tripped it last; `trips` counts in a row; `until_s` ends the state, where it ends.

    `generation` grows with every change: what a call says that was let through in another one is not listened to.
    `buckets` are `(begin_s, calls, failures)`.
    """

    state: BreakerState = BreakerState.CLOSED
    cause: Signal | None = None
    trips: int = 0
    since_s: float = 0.0
    until_s: float = 0.0
    generation: int = 0
    buckets: tuple[tuple[float, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a call may go; give it back to `settle` with what came of it."""

    is_admitted: bool
    is_probe: bool
    generation: int


def signal_of(error: SightlineError | None, *, has_connected: bool = True) -> Signal:
    """What a call that ended in `error` (None: in an answer) says; `has_connected` False when nobody was there."""
    match error:
        case MovedError():  # its owner is another one, and lives
            return Signal.ANSWERED
        case DeviceMemoryError():  # full is not ill: what that means, somebody else decides
            return Signal.UNKNOWN
        case UnavailableError():
            return Signal.UNAVAILABLE if has_connected else Signal.CONNECT_FAILED
        case OverloadedError():
            return Signal.BACKPRESSURE
        case DeadlineError():
            return Signal.UNKNOWN
        case _:
            return Signal.ANSWERED


def admit(breaker: Breaker, *, now_s: float, parameters: BreakerParameters) -> tuple[Breaker, Admission]:
    """The breaker after someone asked, and whether the call may go."""
    is_probe = breaker.state is not BreakerState.CLOSED and now_s >= breaker.until_s
    if is_probe:
        breaker = _moved(breaker, BreakerState.HALF_OPEN, now_s=now_s, until_s=now_s + parameters.probe_s)
    is_admitted = is_probe or breaker.state is BreakerState.CLOSED
    return breaker, Admission(is_admitted=is_admitted, is_probe=is_probe, generation=breaker.generation)


def settle(
    breaker: Breaker,
    admission: Admission,
    signal: Signal,
    *,
    now_s: float,
    jitter: float,
    cpu_load: float = 0.0,
    parameters: BreakerParameters,
) -> Breaker:
    """The breaker after the call of `admission` ended. `jitter`: a random number in [0, 1); `cpu_load` in [0, 1]."""
    if not admission.is_admitted or admission.generation != breaker.generation:
        return breaker
    is_failure = signal in {Signal.UNAVAILABLE, Signal.CONNECT_FAILED} or (
        signal is Signal.BACKPRESSURE and cpu_load > parameters.hot_cpu
    )
    if admission.is_probe and is_failure:
        return _tripped(breaker, signal, now_s=now_s, jitter=jitter, parameters=parameters)
    if admission.is_probe:
        return _after_probe(breaker, signal, now_s=now_s)
    if signal is Signal.UNKNOWN:
        return breaker
    breaker = _counted(breaker, is_failure=is_failure, now_s=now_s, parameters=parameters)
    calls = sum(bucket[1] for bucket in breaker.buckets)
    failures = sum(bucket[2] for bucket in breaker.buckets)
    is_enough = calls >= parameters.min_calls and failures >= parameters.trip_ratio * calls
    if signal is Signal.CONNECT_FAILED or (is_failure and is_enough):
        return _tripped(breaker, signal, now_s=now_s, jitter=jitter, parameters=parameters)
    return breaker


def replaced(breaker: Breaker, *, now_s: float) -> Breaker:
    """The breaker when the part behind it was started anew: the next call is the probe, and none is let in blindly."""
    if breaker.state is BreakerState.CLOSED:
        return breaker
    return _moved(breaker, BreakerState.OPEN, now_s=now_s, until_s=now_s)


def open_for_s(trips: int, *, jitter: float, parameters: BreakerParameters) -> float:
    """How long trip number `trips`, counted from 1, keeps the breaker open; ValueError out of range.

    Never less than `open_s`. What doubling adds beyond it carries full jitter, so that many callers of one part do not
    all come back in the same moment.
    """
    if trips < 1 or not 0 <= jitter < 1:
        raise ValueError(f"trip {trips} must be 1 or more, jitter {jitter} in [0, 1)")
    bound_s = min(parameters.open_s * 2.0 ** min(trips - 1, DOUBLINGS), parameters.max_open_s)
    return parameters.open_s + max(bound_s - parameters.open_s, 0.0) * (1 - jitter)


def _after_probe(breaker: Breaker, signal: Signal, *, now_s: float) -> Breaker:
    if signal is Signal.UNKNOWN:
        return replace(breaker, until_s=now_s)  # the next caller probes
    return _moved(breaker, BreakerState.CLOSED, now_s=now_s, until_s=0.0)


def _tripped(breaker: Breaker, cause: Signal, *, now_s: float, jitter: float, parameters: BreakerParameters) -> Breaker:
    was_long_closed = breaker.state is BreakerState.CLOSED and now_s - breaker.since_s >= parameters.forget_s
    trips = 1 if was_long_closed else breaker.trips + 1
    until_s = now_s + open_for_s(trips, jitter=jitter, parameters=parameters)
    return replace(_moved(breaker, BreakerState.OPEN, now_s=now_s, until_s=until_s), cause=cause, trips=trips)


def _moved(breaker: Breaker, state: BreakerState, *, now_s: float, until_s: float) -> Breaker:
    return replace(breaker, state=state, since_s=now_s, until_s=until_s, generation=breaker.generation + 1, buckets=())


def _counted(breaker: Breaker, *, is_failure: bool, now_s: float, parameters: BreakerParameters) -> Breaker:
    kept = [bucket for bucket in breaker.buckets if now_s - bucket[0] < parameters.window_s]
    begin_s, calls, failures = kept.pop() if kept and now_s - kept[-1][0] < BUCKET_S else (now_s, 0, 0)
    return replace(breaker, buckets=(*kept, (begin_s, calls + 1, failures + is_failure)))
