"""What a caller asks of one live stream, all of it changeable while it runs but for its source."""

from dataclasses import dataclass, field

from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.video import VideoSpec
from app.delivery.sinks import Sink
from app.policy.reconnect import Backoff

LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A live stream. `label` is the user's own word for it; `source` the URL to pull, None where frames are pushed.

    `model` is a model's name, None for the one that answers who asks for nothing in particular. Of streams that wait
    for the detector, one with a higher `priority` (0 to 10) goes first. `tenant` is whose it is, set by the ingress.
    """

    label: str = ""
    video: VideoSpec = field(default_factory=VideoSpec)
    priority: int = 5
    source: str | None = None
    model: str | None = None
    reconnect: Backoff = Backoff.EXPONENTIAL
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    sinks: tuple[Sink, ...] = ()
    tenant: str = ""
