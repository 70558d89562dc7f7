"""Which frames of a stream are due at a target rate."""

import math
from typing import Final

_EARLY_SLOTS: Final = 0.25
"""A frame may come a quarter of a period before its due time: containers round times to 1 ms, cameras jitter."""


class Sampler:
    """Picks at most one frame per period of `1 / fps` seconds, on a grid fixed to the stream's start.

    The grid does not drift, whatever the source's rate; after a jump of the clock it goes on from the new time.
    """

    def __init__(self, *, fps: float) -> None:
        self._fps = fps
        self._slot: int | None = None

    def is_due(self, pts_s: float) -> bool:
        """Whether the frame presented at `pts_s` is to be looked at."""
        slot = math.floor(pts_s * self._fps + _EARLY_SLOTS)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
