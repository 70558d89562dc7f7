"""How long a session waits before it connects again, and how often it tries. Source: MISSION.md row 88."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

FAST_S: Final = 0.2
FIRST_S: Final = 0.5
CAP_S: Final = 10.0
"""Source of the three: MISSION.md row 88, 200 ms, 500 ms and 10 s."""
DOUBLINGS: Final = 5
"""After so many the cap is reached (0.5 s * 2^5 = 16 s). The exponent stops here: 2.0 ** 1024 does not exist."""
MAX_ANNOUNCED_S: Final = 60.0
"""No server keeps a session waiting longer than this. One that says 0 and closes at once would be called without end,
so that nobody is called more often than every `FAST_S`."""
GOOD_FRAMES: Final = 30
"""So many frames on one connection and the attempts count from 0 again, under every policy. A connection that breaks
sooner counts on, or a stream that connects and breaks at once would be retried without delay and without end."""


class Backoff(StrEnum):
    """The rule that the delay follows."""

    FAST = "fast"  # fixed, for a LAN
    EXPONENTIAL = "exponential"  # doubling with full jitter, for mobile networks
    SERVER = "server"  # what the server announced in its SDP, for a CDN


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """`max_attempts` tries to connect again, counted until `GOOD_FRAMES` came over one connection; then it is over.

    None is without bound, and then the first connection is tried again too: a camera may be off when its stream is
    opened, and come back after a night.
    """

    backoff: Backoff
    max_attempts: int | None = None

    @property
    def resets_sequence(self) -> bool:
        """Whether the frame numbers start anew with each connection; otherwise they go on, by `base_seq`."""
        return self.backoff is Backoff.FAST


POLICIES: Final[Mapping[Backoff, ReconnectPolicy]] = MappingProxyType(
    {backoff: ReconnectPolicy(backoff=backoff) for backoff in Backoff}
)
"""The three of row 88, for cameras: without bound. The row says that attempts run out and names no number; who wants a
bound (a file, a client's own upload) sets one."""


def delay_s(policy: ReconnectPolicy, attempt: int, *, jitter: float, announced_s: float | None) -> float:
    """Seconds to wait before try number `attempt`, counted from 0.

    `jitter` is a random number in [0, 1); only the doubling rule uses it, for a delay that is uniform in (0, bound].
    `announced_s` is what the server announced; only `server` uses it, bounded to 0.2..60 s, and takes the doubling rule
    when it is None or NaN. ValueError when `attempt` or `jitter` is out of range.
    """
    if attempt < 0 or not 0 <= jitter < 1:
        raise ValueError(f"attempt {attempt} must be 0 or more, jitter {jitter} in [0, 1)")
    if policy.backoff is Backoff.FAST:
        return FAST_S
    if policy.backoff is Backoff.SERVER and announced_s is not None and not math.isnan(announced_s):
        return min(max(announced_s, FAST_S), MAX_ANNOUNCED_S)
    bound_s = min(FIRST_S * 2.0 ** min(attempt, DOUBLINGS), CAP_S)
    return bound_s * (1 - jitter)
