"""The stage that gives objects their identities: one tracker per stream."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from app.core import metrics as table
from app.core.errors import OverloadedError, UnavailableError
from app.core.frame import Detections, Tracks
from app.core.metrics import SILENT, Metrics
from app.core.outcome import Outcome
from app.tracking.bytetrack import ByteTracker
from app.tracking.parameters import TrackerParameters


class Tracker:
    """The trackers of all streams that were seen within `idle_s`; at most `max_streams` of them.

    A stream that is silent for longer is forgotten: its identities never come back. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        parameters: TrackerParameters,
        *,
        max_streams: int = 1024,
        idle_s: float = 300.0,
        metrics: Metrics = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameters = parameters
        self._max_streams = max_streams
        self._idle_s = idle_s
        self._metrics = metrics
        self._clock = clock
        self._trackers: OrderedDict[str, tuple[ByteTracker, float]] = OrderedDict()

    async def update(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        """One outcome per item; drops and failures pass through. Frames of one stream arrive in order.

        `is_new` begins the epoch, and with it identities that no earlier epoch had. Otherwise UnavailableError when
        the tracks of that epoch are not here: another replica began it, or they were forgotten.
        """
        now_s = self._clock()
        tracker, _ = self._trackers.pop(stream_id, (None, 0.0))
        if is_new:
            tracker = self._admit(epoch, now_s=now_s)
        elif tracker is None or tracker.epoch != epoch:
            raise UnavailableError("the tracks of this stream are lost")
        self._trackers[stream_id] = (tracker, now_s)
        return [self._updated(tracker, item) if isinstance(item, Detections) else item for item in frames]

    def _updated(self, tracker: ByteTracker, found: Detections) -> Tracks:
        start_s = time.perf_counter()
        tracks = tracker.update(found)
        self._metrics.observe(table.TRACKER_SECONDS, ("video",), value=time.perf_counter() - start_s)
        return tracks

    async def end(self, stream_id: str) -> None:
        """Forget the stream."""
        self._trackers.pop(stream_id, None)

    def _admit(self, epoch: int, *, now_s: float) -> ByteTracker:
        while self._trackers and now_s - next(iter(self._trackers.values()))[1] > self._idle_s:
            self._trackers.popitem(last=False)
        if len(self._trackers) >= self._max_streams:
            raise OverloadedError("as many streams are tracked as this replica may hold")
        return ByteTracker(self._parameters, epoch=epoch)
