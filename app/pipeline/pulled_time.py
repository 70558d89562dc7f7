"""The two times of a pulled frame: when it was captured, in UTC, and where it lies on its stream's own scale."""

from dataclasses import dataclass
from typing import Final

from app.policy.source_clock import SourceClock, StampVerdict

AHEAD_S: Final = 0.25
BEHIND_S: Final = 2.0
"""A source whose clock says that a frame was captured so little after or before its arrival has its clock set, and is
believed. What is further off is a clock that nobody set: the model of it is believed instead."""
_MIN_STEP_S: Final = 0.001
_MAX_BACK_S: Final = 5.0
"""Captured times do not go back, unless by more than this: then our own clock was set."""
_REGULAR: Final = frozenset({StampVerdict.LEARNING, StampVerdict.STEADY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """`captured_at` is UTC in seconds; `pts_s` counts from the stream's first frame and never goes back.

    `verdict` is what the frame's stamp was worth: a jump of the source's clock is told once.
    """

    captured_at: float
    pts_s: float
    verdict: StampVerdict


class PulledTime:
    """Keeps both times in step over every connection of one stream.

    `pts_s` follows the source's stamps while they are regular. Over a cut, a jump and for frames without stamp it goes
    on by what passed between the arrivals, so that speeds and dwell times stay true. Without `has_model` (a file read
    as fast as it can be) arrivals mean nothing: the stamps alone count.
    """

    def __init__(self, *, has_model: bool) -> None:
        self._has_model = has_model
        self._clock = SourceClock()
        self._captured_at = float("-inf")
        self._pts_s = 0.0
        self._stamp_s: float | None = None
        self._arrived_s: float | None = None

    def connected(self) -> None:
        """A new connection: its stamps begin anywhere."""
        self._clock = SourceClock()
        self._stamp_s = None

    def observe(self, stamp_s: float | None, *, ntp_s: float | None, arrived_s: float, arrived_at: float) -> Times:
        """The next frame: its stamp, when its source says it was captured, its arrival, monotonic and in UTC."""
        captured_s, verdict = arrived_s, StampVerdict.MISSING
        if self._has_model:
            captured_s, verdict = self._observed(stamp_s, arrived_s=arrived_s)
        elif stamp_s is not None:
            went_back = self._stamp_s is not None and stamp_s < self._stamp_s
            verdict = StampVerdict.WENT_BACK if went_back else StampVerdict.STEADY
        captured_at = arrived_at - (arrived_s - captured_s)
        if ntp_s is not None and -AHEAD_S <= arrived_at - ntp_s <= BEHIND_S:
            captured_at = min(ntp_s, arrived_at)
        if captured_at > self._captured_at - _MAX_BACK_S:
            captured_at = max(captured_at, self._captured_at)
        self._captured_at = captured_at
        self._pts_s = self._advanced(stamp_s, arrived_s=arrived_s, is_regular=verdict in _REGULAR)
        self._stamp_s, self._arrived_s = stamp_s, arrived_s
        return Times(captured_at=captured_at, pts_s=self._pts_s, verdict=verdict)

    def _observed(self, stamp_s: float | None, *, arrived_s: float) -> tuple[float, StampVerdict]:
        capture = self._clock.observe(stamp_s, arrived_s=arrived_s)
        return capture.captured_at_s, capture.verdict

    def _advanced(self, stamp_s: float | None, *, arrived_s: float, is_regular: bool) -> float:
        if self._arrived_s is None:
            return 0.0
        if is_regular and stamp_s is not None and self._stamp_s is not None:
            return self._pts_s + (stamp_s - self._stamp_s)
        return self._pts_s + max(_MIN_STEP_S, arrived_s - self._arrived_s)
