"""Playing what could be read faster at the speed at which it was recorded."""

import time
from typing import Final

_MAX_STEP_S: Final = 5.0
"""A step between two frames that is longer, or goes back, is a cut in the recording: nobody waits for it."""


class Pace:
    """Holds each frame back until it is due, counted from the first."""

    def __init__(self) -> None:
        self._origin_s: float | None = None
        self._previous_s = 0.0

    def wait(self, pts_s: float) -> None:
        """Return when the frame presented at `pts_s` is due; at once when it is late."""
        now_s = time.monotonic()
        if self._origin_s is None or not 0 <= pts_s - self._previous_s <= _MAX_STEP_S:
            self._origin_s = now_s - pts_s
        self._previous_s = pts_s
        time.sleep(max(0.0, self._origin_s + pts_s - now_s))
