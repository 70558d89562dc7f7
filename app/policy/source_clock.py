"""When a frame was captured, in our clock, from the stamp of a source whose clock is set and runs otherwise."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final, NamedTuple

BUCKET_S: Final = 5.0
"""Of so many seconds of stamps only the frame with the least delay is kept."""
WINDOW_S: Final = 300.0
"""Frames older than this are forgotten: a path that became longer for good is believed after as long."""
MIN_SPAN_S: Final = 60.0
"""Drift is estimated from this much of a window on: 1 ms of jitter over 60 s is 17 ppm."""
MAX_DRIFT: Final = 200e-6
"""Seconds per second. Crystals are sold to ±100 ppm and less; a steeper line is network, not clock."""
AHEAD_S: Final = 1.0
"""A stamp further ahead of the model is a leap of the source's clock, less is delay that went away."""
BEHIND_S: Final = 30.0
"""A stamp further behind the model is a leap of the source's clock or a pause of its, less is delay."""


class StampVerdict(StrEnum):
    """What a stamp said. The three last restart the model, so that each such jump is told once.

    A stamp is `MISSING` when it is None or not finite; the model is `LEARNING` while it has seen less than
    `MIN_SPAN_S`, then `STEADY`. `WENT_BACK` is a stamp before the one before it, `LEAPT_AHEAD` and `FELL_BEHIND`
    differ from the model by more than `AHEAD_S` and `BEHIND_S`.
    """

    MISSING = "missing"
    LEARNING = "learning"
    STEADY = "steady"
    WENT_BACK = "went_back"
    LEAPT_AHEAD = "leapt_ahead"
    FELL_BEHIND = "fell_behind"


@dataclass(frozen=True, slots=True)
class Capture:
    """When a frame was captured, in seconds of our clock, and what its stamp was worth."""

    captured_at_s: float
    verdict: StampVerdict


class _Sight(NamedTuple):
    """One frame: `stamp_s` since the model began, `delay_s` its arrival less its stamp, less that of the first."""

    stamp_s: float
    delay_s: float


class SourceClock:
    """The clock of one stream's source against ours: arrival = stamp + offset + drift * stamp + network delay >= 0.

    As the network only ever adds, the line of offset and drift lies below all frames and touches those it held up
    least: the lower convex hull's edge above the middle of the window, the line with the least summed distance. Until
    `MIN_SPAN_S` is seen, and after a gap, the drift known so far (at first 0) stands; offset is the least delay. Thus
    the first frame counts as captured when it arrived, and the estimates settle with the first unhindered frame.

    The least delay of the path itself cannot be told from an offset: captured times are late by it. They never go back
    and never lie after the arrival. A frame without stamp counts as captured when it arrived. Not thread-safe.

    Source: Moon, Skelly and Towsley, Estimation and Removal of Clock Skew from Network Delay Measurements, INFOCOM
    1999. MISSION.md row 79.
    """

    def __init__(self) -> None:
        self._captured_at_s = float("-inf")
        self._drift = 0.0
        self._restart(0.0, arrived_s=0.0)
        self._newest_s: float | None = None

    @property
    def drift_ppm(self) -> float:
        """Microseconds that our clock gains on the source's per second of the source's; 0 until it is known."""
        return self._drift * 1e6

    def observe(self, stamp_s: float | None, *, arrived_s: float) -> Capture:
        """The next frame: stamp in seconds of the source, arrival in seconds of ours, finite and never going back."""
        if stamp_s is None or not isfinite(stamp_s):
            return self._capture(arrived_s, arrived_s=arrived_s, verdict=StampVerdict.MISSING)
        verdict = self._jump(stamp_s, arrived_s=arrived_s)
        if verdict is not None or self._newest_s is None:
            self._restart(stamp_s, arrived_s=arrived_s)
        self._newest_s = stamp_s
        since_s = stamp_s - self._first_stamp_s
        self._learn(_Sight(since_s, arrived_s - self._first_arrival_s - since_s))
        if verdict is None:
            is_steady = since_s - self._sights[0].stamp_s >= MIN_SPAN_S
            verdict = StampVerdict.STEADY if is_steady else StampVerdict.LEARNING
        return self._capture(self._modelled_s(stamp_s), arrived_s=arrived_s, verdict=verdict)

    def _capture(self, captured_at_s: float, *, arrived_s: float, verdict: StampVerdict) -> Capture:
        self._captured_at_s = max(self._captured_at_s, min(captured_at_s, arrived_s))
        return Capture(self._captured_at_s, verdict)

    def _jump(self, stamp_s: float, *, arrived_s: float) -> StampVerdict | None:
        if self._newest_s is None:
            return None
        if stamp_s < self._newest_s:
            return StampVerdict.WENT_BACK
        late_s = arrived_s - self._modelled_s(stamp_s)
        if late_s < -AHEAD_S:
            return StampVerdict.LEAPT_AHEAD
        return StampVerdict.FELL_BEHIND if late_s > BEHIND_S else None

    def _modelled_s(self, stamp_s: float) -> float:
        """Our time at that stamp. Sums begin with the first frame: seconds since 1970 would cost digits."""
        since_s = stamp_s - self._first_stamp_s
        return self._first_arrival_s + (since_s + (self._offset_s + self._drift * since_s))

    def _restart(self, stamp_s: float, *, arrived_s: float) -> None:
        """Begin with this frame; what is known of the drift is the oscillator's and survives."""
        self._first_stamp_s, self._first_arrival_s = stamp_s, arrived_s
        self._offset_s = 0.0
        self._sights: deque[_Sight] = deque()

    def _learn(self, sight: _Sight) -> None:
        """Keep the frame if its bucket has no better one, and fit anew when the window or the envelope changed."""
        sights = self._sights
        is_new = not sights or sight.stamp_s // BUCKET_S > sights[-1].stamp_s // BUCKET_S
        is_below = sight.delay_s < self._offset_s + self._drift * sight.stamp_s
        if is_new:
            sights.append(sight)
        elif sight.delay_s < sights[-1].delay_s:
            sights[-1] = sight
        if not is_new and not is_below:
            return
        while sights[0].stamp_s < sight.stamp_s - WINDOW_S:
            sights.popleft()
        if sights[-1].stamp_s - sights[0].stamp_s >= MIN_SPAN_S:
            self._drift = min(MAX_DRIFT, max(-MAX_DRIFT, envelope_slope(sights)))
        self._offset_s = min(delay_s - self._drift * at_s for at_s, delay_s in sights)


def envelope_slope(points: Sequence[tuple[float, float]]) -> float:
    """Slope of the lower convex hull's edge above the mean x of at least two points; their x must grow.

    Of all lines below the points, the one through this edge has the least summed distance from them. Source: Andrew,
    Another efficient algorithm for convex hulls in two dimensions, 1979.
    """
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    middle = sum(x for x, _ in points) / len(points)
    right = next(index for index in range(1, len(hull)) if hull[index][0] >= middle or index == len(hull) - 1)
    return _slope(hull[right - 1], hull[right])


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
