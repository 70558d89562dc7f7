"""What the live streams of one owner have in common: their limits, and the parts of the service that they use."""

from dataclasses import dataclass, field
from typing import Any

from app.core.metrics import SILENT, Metrics
from app.core.video import FrameMode
from app.delivery.deliveries import Deliveries
from app.delivery.opening import check_sink, opener
from app.delivery.parameters import DeliveryParameters
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import source_of
from app.pipeline.chain import DetectChain
from app.pipeline.models import Models
from app.pipeline.priority_gate import PriorityGate
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import StreamStore
from app.pipeline.webhook_guard import WebhookGuard
from app.policy.connect_pace import ConnectPace
from app.policy.route_table import Ask
from app.tracking.parameters import TrackerParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """`depth` frames of one stream may wait and `batch` be worked on; with latest_frame one, the newest.

    A batch that takes longer than `batch_s` seconds to detect ends in an error, whatever becomes of it. The last
    `history` events can be read again. `detecting` batches of all streams are detected at once. At most `max_streams`
    are open; one that is pushed and gets no frame for `idle_s` seconds is closed.
    """

    depth: int = 16
    batch: int = 8
    batch_s: float = 30.0
    history: int = 1024
    detecting: int = 4
    max_streams: int = 256
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        counts = (self.depth, self.batch, self.history, self.detecting, self.max_streams)
        if min(counts) < 1 or not (self.batch_s > 0 and self.idle_s > 0):
            raise ValueError("the limits of streams must be above 0")

    def window(self, spec: StreamSpec) -> int:
        """How many frames a sender may have open without losing one to a full mailbox; latest_frame loses by intent."""
        return 4 * self.depth if spec.video.mode is FrameMode.LATEST_FRAME else self.depth

    def intake(self, spec: StreamSpec) -> dict[str, Any]:
        """The options of a StreamIntake for this stream."""
        video = spec.video
        # Three newest frames in one batch were half as old again (load_tests.streams, two cores, 2026-11-23).
        depth = 1 if video.mode is FrameMode.LATEST_FRAME else self.depth
        fps = video.fps if spec.source is None else None  # what is pulled is sampled where it is decoded
        return {"mode": video.mode, "fps": fps, "depth": depth, "max_taken": min(self.batch, depth)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all streams of one owner share."""

    chain: DetectChain
    store: StreamStore
    models: Models
    tracker: TrackerParameters
    limits: StreamLimits
    pull: PullParameters = field(default_factory=PullParameters)
    decoding: DecodeLimits = DEFAULT_LIMITS
    delivery: DeliveryParameters = field(default_factory=DeliveryParameters)
    metrics: Metrics = SILENT
    pace: ConnectPace = field(default_factory=ConnectPace, init=False)
    gate: PriorityGate = field(init=False)
    deliveries: Deliveries = field(init=False)

    def __post_init__(self) -> None:
        opened = opener(self.delivery, guard=WebhookGuard(self.delivery.webhooks))
        object.__setattr__(self, "gate", PriorityGate(self.limits.detecting))
        object.__setattr__(self, "deliveries", Deliveries(self.delivery, open_carrier=opened))

    def check(self, spec: StreamSpec) -> None:
        """Raise InvalidParameterError for a source that may not be pulled, and a sink that is not in the settings.

        NotFoundError for a model that there is not.
        """
        if spec.model is not None:
            self.models.route(Ask(draw=0.0), model=spec.model)
        if spec.source is not None:
            source_of(spec.source, self.pull)
        for sink in spec.sinks:
            check_sink(sink, self.delivery, guard=WebhookGuard(self.delivery.webhooks))
