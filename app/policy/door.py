"""When the door closes: what is let in is expected to be answered while the answer is still worth something."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from app.policy.batching import BatchLimits

WINDOW: Final = 48
"""Answers that are remembered. A machine that changes its speed is followed within as many."""
LEAST: Final = 8
"""Answers below which nothing is known: the first of a process take seconds, and are no measure of those after them."""
SAFE_SHARE: Final = 0.9
"""Of what is remembered, by weight, so much was answered at the pace that is reckoned with, or faster."""
MAX_TAIL: Final = 2.0
"""It is never more than so many times the usual: after a stall those who were caught in it say nothing about now."""


class Pace:
    """How many seconds each frame ahead costs whoever comes now, learned from how long others were there.

    An answer to the n-th in line after t seconds says t ÷ n, with weight n²: one that found nobody ahead says little
    about a long line. Where no line has been as long before, lanes or batches may make the pace better than is known:
    then the door closes early, and learns. Not thread-safe.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._each_s = 0.0

    @property
    def each_s(self) -> float:
        """Seconds for each frame in line, 0 before `LEAST` answers."""
        return self._each_s

    @property
    def frames_per_s(self) -> float:
        """Frames of a long line that are answered in a second, 0 before `LEAST` answers."""
        return 1 / self._each_s if self._each_s else 0.0

    def observe(self, place: int, elapsed_s: float) -> None:
        """The frame that came as number `place` in line, 1 where nobody was ahead, was answered after so long."""
        self._seen.append((max(0.0, elapsed_s) / place, place * place))
        if len(self._seen) < LEAST:
            return
        ranked = sorted(self._seen)
        usual_s, _ = ranked[(len(ranked) - 1) // 2]
        left = SAFE_SHARE * sum(weight for _, weight in ranked)
        for each_s, weight in ranked:
            left -= weight
            if left <= 0:
                self._each_s = min(each_s, MAX_TAIL * usual_s)
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Who is there when a frame comes, waiting or under way: `ahead` frames, and `others` of them of other requests."""

    ahead: int
    others: int


def is_worth_it(line: Line, *, left_s: float | None, each_s: float, limits: BatchLimits) -> bool:
    """Whether the answer is expected within the `left_s` to its deadline, or without one within the limits.

    Without a deadline the parts of one request do not stand in each other's way: a caller who sends many images at once
    means to wait for them. Whoever finds nobody ahead passes, and without a deadline whoever finds no more others than
    batches run at once: nothing could be learned otherwise of an engine that has become faster.
    """
    if left_s is not None:
        return line.ahead == 0 or (line.ahead + 1) * each_s <= left_s
    return line.others < limits.max_in_flight or (line.others + 1) * each_s <= limits.max_wait_s
