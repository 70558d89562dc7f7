"""The seam between transports and streams: whoever owns a stream, and wherever, it is reached by these calls."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.errors import InvalidParameterError
from app.core.outcome import DropReason
from app.core.result import Summary
from app.core.wire import WireEvent
from app.pipeline.stream_spec import StreamSpec

_YEAR_1_S, _YEAR_10000_S = -62_135_596_800, 253_402_300_800
"""What `datetime` can hold, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One encoded frame for a stream; `seq` None counts on from the newest, `captured_at` is UTC in seconds.

    With `dropped` it was dropped on its way here and carries no data: it is captured, so that it is accounted for.
    InvalidParameterError for a time that no calendar has.
    """

    data: bytes | memoryview = b""
    seq: int | None = None
    captured_at: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    dropped: DropReason | None = None

    def __post_init__(self) -> None:
        if self.captured_at is not None and not _YEAR_1_S <= self.captured_at < _YEAR_10000_S:
            raise InvalidParameterError("captured_at: a time of the years 1 to 9999")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What a stream has taken in: `last_seq` is its newest captured frame, `window` how many may be open at once.

    A sender that keeps at most `window` frames without their end loses none to a full mailbox.
    """

    last_seq: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Consecutive events, maybe none; `position` is where to read on, `is_closed` that nothing will follow."""

    events: tuple[WireEvent, ...]
    position: int
    is_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream as it stands. `state` is that of its session, `fps` answers a second over the last seconds.

    `age_s` is how old the newest answered frame was when its result came, None before the first.
    `last_seq` is the newest captured frame, -1 before the first.
    """

    stream_id: str
    spec: StreamSpec
    state: str
    summary: Summary
    last_seq: int
    window: int
    fps: float
    age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame with everything drawn on it, as a JPEG."""

    seq: int
    jpeg: bytes


class StreamHost(Protocol):
    """The live streams, by name. Every call that names one raises NotFoundError when there is none.

    UnavailableError (MovedError is one) says that the owner is going or gone: the same call reaches the next one.
    """

    async def open(self, spec: StreamSpec) -> StreamStatus:
        """A new stream; OverloadedError when as many are open as may be."""

    async def show(self, stream_id: str) -> StreamStatus:
        """One stream."""

    async def all(self) -> list[StreamStatus]:
        """Every open stream, in the order of opening."""

    async def patch(self, stream_id: str, spec: StreamSpec) -> StreamStatus:
        """Go on under another spec, of the same source."""

    async def close(self, stream_id: str) -> Summary:
        """Close a stream: what is still in it ends as `unavailable`, its readers get the summary."""

    async def offer(self, stream_id: str, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        """Capture frames, in this order; their ends come as events. What was captured before is passed over.

        `after_seq` is the newest frame before these that has no end yet. ConflictError, and none is captured, when it
        is not known: the owner is a new one, and frames that go before these are to be offered again first.
        """

    async def push(self, stream_id: str, frame: Offer) -> WireEvent:
        """Capture one frame and wait for its end. One that was captured before gets the end that it had.

        ConflictError when `seq` lies before the newest and was never captured, or its end is no longer remembered.
        """

    async def position(self, stream_id: str, *, after_seq: int = -1, after_event: str | None = None) -> int:
        """Where to begin to read: right after that event where it is remembered, else after the end of that frame."""

    async def events(self, stream_id: str, *, position: int, wait_s: float) -> EventBatch:
        """What was told since `position`; waits up to `wait_s` seconds for something. Forgotten events: a Gap first."""

    async def preview(self, stream_id: str, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest frame after `after_seq`, drawn; None when none comes within `wait_s` seconds."""
