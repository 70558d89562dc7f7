"""What a caller asks of the frames of one video or live stream."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.core.query import Query


class FrameMode(StrEnum):
    """Which frames of a stream are looked at; the others end as drops with a reason."""

    EVERY_FRAME = "every_frame"
    LATEST_FRAME = "latest_frame"
    TARGET_FPS = "target_fps"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """How to go through one video; `fps` is needed with `target_fps` and greater than zero."""

    mode: FrameMode = FrameMode.EVERY_FRAME
    fps: float | None = None
    query: Query = field(default_factory=Query)
