"""The event contract: what every captured frame ends as, over every transport."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.core.frame import Timings

MAX_OBJECTS = 200
"""Objects in one result at the most; `truncated` says when there were more. Source: CONTRACT.md §4."""


class Status(StrEnum):
    """The one bucket a captured frame ends in."""

    RESULT = "result"
    DROPPED = "dropped"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedObject:
    """One object: `box` is `[x1, y1, x2, y2]` in upright source pixels, x2 and y2 exclusive; `score` in [0, 1]."""

    label: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    track_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """The model that answered."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What became of one captured frame: a result, a drop with its reason, or an error with its code.

    `reason` is the drop reason or the error code. `event_id` is the idempotency key. Times are seconds.
    """

    schema: str = "sightline.v1.FrameResult"
    stream_id: str
    epoch: int
    seq: int
    event_id: str
    status: Status
    reason: str | None = None
    detail: str | None = None
    captured_at: datetime | None = None
    pts_s: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    model: ModelVersion | None = None
    route_epoch: int = 0
    degraded: bool = False
    objects: tuple[DetectedObject, ...] = ()
    truncated: bool = False
    timings: Timings = field(default_factory=Timings)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Frames between `after_seq` and `next_seq` are not told of here; `reason` "history": the reader came too late."""

    schema: str = "sightline.v1.Gap"
    stream_id: str
    epoch: int
    event_id: str
    after_seq: int
    next_seq: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The ledger of a stream: `captured = answered + Σ dropped + Σ errors + in_flight`, at every moment.

    `reason` is the code of what ended the input early, None when it ended well.
    """

    schema: str = "sightline.v1.Summary"
    stream_id: str
    epoch: int
    event_id: str
    captured: int
    answered: int
    dropped: dict[str, int]
    errors: dict[str, int]
    in_flight: int
    reason: str | None = None
    detail: str | None = None
