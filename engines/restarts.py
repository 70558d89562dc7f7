"""How often a model's process is started again, and after how long a pause."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartLimits:
    """At most `max_restarts` within `window_s` seconds, the first after `first_s`, then twice as long up to `cap_s`."""

    max_restarts: int = 5
    window_s: float = 300.0
    first_s: float = 0.2
    cap_s: float = 10.0


class Restarts:
    """The restarts of one process that the window still holds."""

    def __init__(self, limits: RestartLimits) -> None:
        self._limits = limits
        self._at_s: deque[float] = deque()

    def delay_s(self, now_s: float) -> float | None:
        """Seconds to wait after a death at `now_s`, monotonic; None when there were too many, and it stays dead."""
        while self._at_s and self._at_s[0] <= now_s - self._limits.window_s:
            self._at_s.popleft()
        count = len(self._at_s)
        if count >= self._limits.max_restarts:
            return None
        self._at_s.append(now_s)
        return float(min(self._limits.first_s * 2.0 ** min(count, 32), self._limits.cap_s))
