"""How fast the sessions of one owner connect when many want to at once.

Full jitter does not spread them: after a common cut every session waits a random part of the same first half second.
"""

from typing import Final

BURST: Final = 10
"""So many connect at once, after a while without any: a lone camera and a small site never wait."""
MIN_PER_S: Final = 5.0
SHARE_PER_S: Final = 0.1
"""Of the sessions. With the burst at most a fifth of 100 sessions or more connect in any second, as
facts/reliability.md 3.2 wants, and the last of them has its turn after 10 s, however many they are."""


class ConnectPace:
    """A bucket of `BURST` connections that fills by a tenth of the sessions a second, by at least `MIN_PER_S`.

    Every session that runs is a member, and waits for one turn at a time.
    """

    def __init__(self) -> None:
        self._members = 0
        self._left = float(BURST)  # below 0: so many turns are promised
        self._at_s = 0.0

    def join(self) -> None:
        """One session more."""
        self._members += 1

    def leave(self) -> None:
        """One session fewer."""
        self._members -= 1

    def turn_s(self, *, now_s: float) -> float:
        """Take the next turn to connect; seconds until it comes, 0 for now. `now_s` is monotonic."""
        per_s = max(MIN_PER_S, SHARE_PER_S * self._members)
        self._left = min(float(BURST), self._left + max(0.0, now_s - self._at_s) * per_s) - 1.0
        self._at_s = now_s
        return max(0.0, -self._left / per_s)
