"""What an overloaded model is spared: frames that are not looked at, and others that are seen smaller."""

import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Any, Final

from app.core.errors import OverloadedError
from app.core.frame import EncodedFrame, Frame, ModelInput
from app.core.outcome import Dropped, DropReason, Failed
from app.core.routing import Urgency
from app.pipeline.engine_queue import EngineQueue
from app.pipeline.guarded_engine import GuardedEngine
from app.policy.ladder import Relief

LOG = logging.getLogger("sightline")
LOOK_S: Final = 0.25
_LOOKS: Final = 4
"""Of which the worst counts: batches of a slow engine begin less often than it is looked at."""
_COME_AGAIN_S: Final = 2.0
"""A step back up takes no less."""
_MOST_STREAMS: Final = 4096
_NOTHING_SPARED: Final = Relief()


@dataclass(frozen=True, slots=True, kw_only=True)
class Eased:
    """How a frame is looked at: what is spared with it, and how urgent it is meanwhile."""

    relief: Relief
    urgency: Urgency


class Easing:
    """Follows the load of one engine's queue, and does to each frame what the engine's ladder asks for.

    Only those give something up who are in a hurry: live streams, and requests with a deadline. Stills without one and
    files are answered in full, behind the others while anything is given up. Without `is_on` nothing ever is.
    """

    def __init__(self, engine: GuardedEngine, queue: EngineQueue[Any, Any], *, is_on: bool) -> None:
        self._engine = engine
        self._queue = queue
        self._waits_s: deque[float] = deque(maxlen=_LOOKS)
        self._seen: Counter[str] = Counter()
        self._is_over = threading.Event()
        self._looking: threading.Thread | None = None
        if is_on:
            self._looking = threading.Thread(target=self._run, daemon=True, name="easing")
            self._looking.start()

    def look(self) -> None:
        """Take a look at the queue; done four times a second where it is on."""
        self._waits_s.append(self._queue.take_wait_s())
        self._engine.look(queue_age_s=max(self._waits_s), missed=self._queue.take_missed())

    def eased(self, frame: EncodedFrame | Frame | ModelInput) -> Eased | Dropped | Failed:
        """How the frame is looked at, or how it ends because it is not."""
        relief, urgency = self._engine.relief, frame.urgency
        if relief.rung is None:
            self._seen.clear()
            return Eased(relief=relief, urgency=urgency)
        if urgency.due_at is None and urgency.share is None:
            return Eased(relief=_NOTHING_SPARED, urgency=replace(urgency, priority=0))
        if urgency.priority < relief.shed_below:
            return _shed(frame, relief)
        if not relief.serves(priority=urgency.priority, seq=self._number(urgency.share)):
            return Dropped(ref=frame.ref, reason=DropReason.SAMPLED)
        return Eased(relief=relief, urgency=urgency)

    def close(self) -> None:
        """Look no more."""
        self._is_over.set()
        if self._looking is not None:
            self._looking.join()

    def _number(self, share: str | None) -> int:
        """Which frame of its stream this is, of those that come to the engine: the stream's own count may skip some."""
        if share is None:
            return 0
        if len(self._seen) >= _MOST_STREAMS:
            self._seen.clear()
        self._seen[share] += 1
        return self._seen[share] - 1

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                LOG.exception("the load of a model cannot be seen")


def _shed(frame: EncodedFrame | Frame | ModelInput, relief: Relief) -> Dropped | Failed:
    if frame.urgency.share is not None:
        return Dropped(ref=frame.ref, reason=DropReason.OVERLOADED)
    words = f"the model is overloaded and looks at nothing below priority {relief.shed_below}"
    return Failed(ref=frame.ref, error=OverloadedError(words, _COME_AGAIN_S))
