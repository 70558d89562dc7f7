"""When an event is offered again: exponential back-off with full jitter, and what the destination asked for."""

import math
from dataclasses import dataclass
from typing import Final

_DOUBLINGS: Final = 30
"""The exponent stops here: 2.0 ** 1024 does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waits double from `first_s` to `cap_s`, and end nowhere: a destination that is down is tried as long as it takes.

    An event that is refused is given up after `attempts`. A destination may ask for a longer wait, up to `max_asked_s`.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    attempts: int = 5
    max_asked_s: float = 300.0

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.cap_s and self.attempts > 0 and self.max_asked_s >= 0):
            raise ValueError("0 < first_s <= cap_s, attempts over 0 and max_asked_s not below 0, please")


def delay_s(policy: RetryPolicy, attempt: int, *, jitter: float, asked_s: float | None = None) -> float:
    """Seconds to wait after failure number `attempt`, counted from 0.

    `jitter` is a random number in [0, 1): the wait is uniform up to the bound, so that those who failed together do not
    come back together. It is never shorter than what the destination asked for; NaN and negative numbers ask nothing.
    """
    bound_s = min(policy.first_s * 2.0 ** min(attempt, _DOUBLINGS), policy.cap_s)
    least_s = 0.0 if asked_s is None or math.isnan(asked_s) else min(max(asked_s, 0.0), policy.max_asked_s)
    return max(least_s, bound_s * (1 - jitter))
