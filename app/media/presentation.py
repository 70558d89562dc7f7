"""When a video's frames are to be shown."""

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_DEFAULT_RATE_HZ = 25.0


class PresentationClock:
    """Seconds from the start of one stream; where a container has no times, the frame rate stands in.

    The start is the stream's own; in AVI, which knows decoding times only, it is the first frame's.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        has_true_start = container.format.name != "avi"
        self._time_base = stream.time_base or container.streams[stream.index].time_base
        self._origin = stream.start_time if has_true_start else None
        rate = stream.average_rate or stream.guessed_rate
        self._period_s = 1 / float(rate) if rate else 1 / _DEFAULT_RATE_HZ
        self._next_s = 0.0

    def pts_s(self, frame: VideoFrame) -> float:
        """When the frame is shown; to be asked once for each frame, in order."""
        if self._origin is None:
            self._origin = frame.pts
        pts_s = self.seconds(frame.pts)
        if pts_s is None:
            pts_s = self._next_s
        self._next_s = pts_s + self._period_s
        return pts_s

    def seconds(self, pts: int | None) -> float | None:
        """A container's time stamp in seconds from the start; None for none."""
        if pts is None or self._time_base is None:
            return None
        return float((pts - (self._origin or 0)) * self._time_base)
