"""What of a device's memory stays whatever the load: what was in use at the least within the last minute."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0


class VramFloor:
    """The least of the readings within `window_s`.

    A device says how much is in use, not for what. What a model takes as it is loaded stays until it is unloaded, and
    is the least soon after; what a batch takes comes and goes within the window.
    """

    def __init__(self, *, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._rising: deque[tuple[float, int]] = deque()  # each is below all that came later

    def lowest(self, used_bytes: int, *, now_s: float) -> int:
        """Take one reading; the least of those that count."""
        while self._rising and self._rising[-1][1] >= used_bytes:
            self._rising.pop()
        self._rising.append((now_s, used_bytes))
        while self._rising[0][0] < now_s - self._window_s:
            self._rising.popleft()
        return self._rising[0][1]
