"""Which frames of a stream are due at a target rate."""

import math
from typing import Final

_MAX_EARLY_PERIODS: Final = 0.25


class Sampler:
    """Picks at most one frame per period of `1 / fps` seconds, the one nearest to a grid fixed to the stream's start.

    A frame may come early by half its distance from the frame before it, but not by more than a quarter of a period:
    containers round times to 1 ms and cameras jitter. The grid does not drift; after a jump of the clock it goes on
    from the new time.
    """

    def __init__(self, *, fps: float) -> None:
        self._fps = fps
        self._slot: int | None = None
        self._previous_s: float | None = None

    def is_due(self, pts_s: float) -> bool:
        """Whether the frame presented at `pts_s` is to be looked at; to be asked for every frame, in order."""
        step_s = 0.0 if self._previous_s is None else abs(pts_s - self._previous_s)
        self._previous_s = pts_s
        slot = math.floor(pts_s * self._fps + min(_MAX_EARLY_PERIODS, step_s * self._fps / 2))
        if slot == self._slot:
            return False
        self._slot = slot
        return True
