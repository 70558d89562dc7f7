"""What a caller asks of one live stream, all of it changeable while it runs but for its source."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.video import VideoSpec
from app.delivery.sinks import Sink

LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 10


class Reconnect(StrEnum):
    """How a pulled stream comes back after a cut: the names of `app.policy.reconnect`'s policies."""

    FAST = "fast"
    EXPONENTIAL = "exponential"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A live stream. `label` is the user's own word for it; `source` the URL to pull, None where frames are pushed.

    Of streams that wait for the detector, one with a higher `priority` (0 to 10) goes first.
    """

    label: str = ""
    video: VideoSpec = field(default_factory=VideoSpec)
    priority: int = 5
    source: str | None = None
    reconnect: Reconnect = Reconnect.EXPONENTIAL
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    sinks: tuple[Sink, ...] = ()
