"""Stream time out of the frames' own stamps: how many seconds one frame lies after the one before."""

from math import isfinite
from typing import NamedTuple

from app.core.frame import NOMINAL_STEP_S, FrameRef


class ClockState(NamedTuple):
    """All that a `StreamClock` knows: its time, the newest stamp, both in seconds, and of which kind that stamp is."""

    now_s: float
    newest_s: float | None
    is_pts: bool


class StreamClock:
    """The time of one stream, `now_s` seconds since its first frame; it never goes back and never asks the wall clock.

    A frame's stamp is `pts_s`, or `captured_at` where that is None. A frame that says neither, a stamp that is not
    finite and the change from one kind of stamp to the other count as one nominal step. A stamp at or a little before
    the newest one is a late frame: time stands still. One more than `restart_s` seconds before it means that the source
    began anew: one nominal step, and its stamps count from there.
    """

    def __init__(self, *, restart_s: float) -> None:
        self.now_s = 0.0
        self._restart_s = restart_s
        self._newest_s: float | None = None
        self._is_pts = False

    def advance(self, ref: FrameRef) -> float:
        """Seconds (>= 0) that passed until this frame; 0 for the first."""
        step_s = self._step_s(ref)
        self.now_s += step_s
        return step_s

    def state(self) -> ClockState:
        """What `take_up` needs to go on from here."""
        return ClockState(self.now_s, self._newest_s, self._is_pts)

    def take_up(self, state: ClockState) -> None:
        """Go on from where another clock was."""
        self.now_s, self._newest_s, self._is_pts = state

    def _step_s(self, ref: FrameRef) -> float:
        is_pts = ref.pts_s is not None
        stamp_s = ref.stamp_s
        if stamp_s is None or not isfinite(stamp_s):
            return NOMINAL_STEP_S
        newest_s, was_pts = self._newest_s, self._is_pts
        self._newest_s, self._is_pts = stamp_s, is_pts
        if newest_s is None:
            return 0.0
        if is_pts != was_pts or stamp_s < newest_s - self._restart_s:
            return NOMINAL_STEP_S
        self._newest_s = max(stamp_s, newest_s)
        return max(0.0, stamp_s - newest_s)
