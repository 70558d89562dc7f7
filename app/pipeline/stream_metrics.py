"""Where the live streams of one owner stand, as metrics: looked at now and then."""

from collections import Counter

from app.core import metrics as table
from app.core.metrics import Metrics
from app.pipeline.streams import Streams
from app.policy.session import SessionState


class StreamsLook:
    """Puts down how many streams there are in each state, and how many of their frames have no end yet."""

    def __init__(self, streams: Streams, metrics: Metrics) -> None:
        self._streams = streams
        self._metrics = metrics

    def __call__(self) -> None:
        """Look once."""
        held = self._streams.held
        states = Counter(stream.state for stream in held)
        for state in SessionState:
            self._metrics.set(table.TRACKER_STREAMS, (state.value,), to=states[state.value])
        self._metrics.set(table.TRACKER_WAITING, to=sum(stream.open_frames for stream in held))
