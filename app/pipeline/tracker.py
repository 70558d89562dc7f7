"""The stage that gives objects their identities: one tracker per stream."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from app.core.errors import OverloadedError
from app.core.frame import Detections, Tracks
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameters = parameters
        self._max_streams = max_streams
        self._idle_s = idle_s
        self._clock = clock
        self._streams: OrderedDict[tuple[str, int], tuple[ByteTracker, float]] = OrderedDict()

    async def update(self, stream_id: str, frames: Sequence[Outcome[Detections]]) -> list[Outcome[Tracks]]:
        """One outcome per item; drops and failures pass through. Frames of one stream arrive in order."""
        return [self._track(stream_id, item) if isinstance(item, Detections) else item for item in frames]

    async def end(self, stream_id: str) -> None:
        """Forget the stream."""
        for key in [key for key in self._streams if key[0] == stream_id]:
            del self._streams[key]

    def _track(self, stream_id: str, found: Detections) -> Tracks:
        key = (stream_id, found.ref.epoch)
        now_s = self._clock()
        tracker = self._streams.pop(key, (None, 0.0))[0] or self._admit(found.ref.epoch, now_s=now_s)
        self._streams[key] = (tracker, now_s)
        return tracker.update(found)

    def _admit(self, epoch: int, *, now_s: float) -> ByteTracker:
        while self._streams and now_s - next(iter(self._streams.values()))[1] > self._idle_s:
            self._streams.popitem(last=False)
        if len(self._streams) >= self._max_streams:
            raise OverloadedError("as many streams are tracked as this replica may hold")
        return ByteTracker(self._parameters, epoch=epoch)
