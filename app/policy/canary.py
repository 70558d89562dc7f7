"""Whether a new version may go on: hold, roll back or promote, and why. Source: MISSION.md row 31."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

_ROUNDING: Final = 1e-9
"""1 - 0.97 is 0.030000000000000027, and 0.03 apart is still near enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryParameters:
    """When a candidate is given up. Nothing is decided on fewer than `min_frames` frames; till then windows add up.

    `max_error_excess`: so much its error rate may lie above the primary's. It is slow when its `quantile` of latency is
    over `max_latency_s`, and given up when it was for `slow_for_s` seconds on end. `max_disagreement` is how far its
    mAP may lie from 1, the primary's answers being the truth, over at least `min_compared` frames. After
    `promote_after_s` seconds without a fault it is fit to be promoted; None: nobody is told.
    """

    min_frames: int = 200
    max_error_excess: float = 0.02
    max_latency_s: float = 0.180
    quantile: float = 0.99
    slow_for_s: float = 180.0
    max_disagreement: float = 0.03
    min_compared: int = 100
    promote_after_s: float | None = None

    def __post_init__(self) -> None:
        ratios = (self.max_error_excess, self.max_disagreement, self.quantile)
        times_s = (self.max_latency_s, self.slow_for_s, 1.0 if self.promote_after_s is None else self.promote_after_s)
        if min(self.min_frames, self.min_compared) < 1 or not all(0 <= ratio <= 1 for ratio in ratios):
            raise ValueError("a canary is judged on at least one frame, by ratios in [0, 1]")
        if not all(time_s > 0 for time_s in times_s):
            raise ValueError("the times by which a canary is judged must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Frames of one version that ended: `answered`, or in `errors` of ours, not of the caller's.

    `slow` of the answers took longer than `max_latency_s`. Counts, so that many reporters add up exactly: the quantile
    q of all latencies is over the limit where more than 1 - q of the answers are slow.
    """

    answered: int = 0
    errors: int = 0
    slow: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.slow <= self.answered or self.errors < 0:
            raise ValueError("no more answers can be slow than there are, and no count is below 0")

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            answered=self.answered + other.answered, errors=self.errors + other.errors, slow=self.slow + other.slow
        )

    @property
    def frames(self) -> int:
        """Answers and errors."""
        return self.answered + self.errors

    @property
    def error_rate(self) -> float:
        """In [0, 1]; 0 without frames."""
        return self.errors / max(1, self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was seen of a candidate and its primary in `length_s` seconds.

    `agreement` is the candidate's mAP over `compared` frames with the primary's answers as truth; None where that is
    not known, because nothing was compared or too little was found.
    """

    length_s: float
    candidate: Traffic = field(default_factory=Traffic)
    primary: Traffic = field(default_factory=Traffic)
    agreement: float | None = None
    compared: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is kept of a candidate from window to window: frames not yet enough to judge, and for how long it went.

    `agreed` is the sum of mAP times frames over `compared` frames; `slow_s` and `good_s` are seconds on end.
    """

    waiting_s: float = 0.0
    candidate: Traffic = field(default_factory=Traffic)
    primary: Traffic = field(default_factory=Traffic)
    agreed: float = 0.0
    compared: int = 0
    slow_s: float = 0.0
    good_s: float = 0.0


class Verdict(StrEnum):
    """What is to become of a candidate."""

    HOLD = "hold"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, and why, in words."""

    verdict: Verdict
    reason: str


def judged(watch: Watch, window: Window, *, parameters: CanaryParameters) -> tuple[Watch, Decision]:
    """The watch after one more window, and the decision: disagreement first, then errors, then latency."""
    now = _added(watch, window)
    if now.compared >= parameters.min_compared:
        apart = 1 - now.agreed / now.compared
        if apart > parameters.max_disagreement + _ROUNDING:
            words = f"its mAP is {apart:.3f} apart from the primary's answers over {now.compared} frames"
            return now, _roll_back(f"{words}; {parameters.max_disagreement:g} is allowed")
        now = replace(now, agreed=0.0, compared=0)
    if now.candidate.frames < parameters.min_frames:
        words = f"{now.candidate.frames} of the {parameters.min_frames} frames that a decision needs"
        return now, Decision(verdict=Verdict.HOLD, reason=words)
    return _by_traffic(now, parameters)


def _added(watch: Watch, window: Window) -> Watch:
    compared = 0 if window.agreement is None else window.compared
    return replace(
        watch,
        waiting_s=watch.waiting_s + window.length_s,
        candidate=watch.candidate + window.candidate,
        primary=watch.primary + window.primary,
        agreed=watch.agreed + (window.agreement or 0.0) * compared,
        compared=watch.compared + compared,
    )


def _by_traffic(now: Watch, parameters: CanaryParameters) -> tuple[Watch, Decision]:
    """The decision on enough frames, which are then done with."""
    mine, others = now.candidate, now.primary
    if mine.error_rate > others.error_rate + parameters.max_error_excess + _ROUNDING:
        words = f"{mine.error_rate:.1%} of its {mine.frames} frames ended in an error of ours"
        return now, _roll_back(f"{words}, {others.error_rate:.1%} of the primary's {others.frames}")
    is_slow = mine.slow > (1 - parameters.quantile) * mine.answered + _ROUNDING
    slow_s = now.slow_s + now.waiting_s if is_slow else 0.0
    good_s = 0.0 if is_slow else now.good_s + now.waiting_s
    after = replace(now, waiting_s=0.0, candidate=Traffic(), primary=Traffic(), slow_s=slow_s, good_s=good_s)
    if slow_s >= parameters.slow_for_s:
        words = f"{mine.slow} of its {mine.answered} answers took longer than {parameters.max_latency_s:g} s"
        return after, _roll_back(f"{words}, more than {1 - parameters.quantile:.1%} for {slow_s:.0f} s on end")
    if is_slow:
        words = f"its answers are slow for {slow_s:.0f} s; {parameters.slow_for_s:g} s are allowed"
        return after, Decision(verdict=Verdict.HOLD, reason=words)
    if parameters.promote_after_s is not None and good_s >= parameters.promote_after_s:
        return after, Decision(verdict=Verdict.PROMOTE, reason=f"no fault was seen for {good_s:.0f} s")
    return after, Decision(verdict=Verdict.HOLD, reason=f"no fault was seen for {good_s:.0f} s")


def _roll_back(reason: str) -> Decision:
    return Decision(verdict=Verdict.ROLL_BACK, reason=reason)
