"""What lies in an outbox: events of one stream for one sink, waiting or given up."""

from dataclasses import dataclass
from enum import StrEnum

from app.core.wire import WireEvent


class DeadReason(StrEnum):
    """Why an event was given up."""

    OVERFLOW = "overflow"  # the outbox was full, and this was its oldest event
    REFUSED = "refused"  # the destination answered, and would not have it
    TOO_LARGE = "too_large"  # more bytes than the destination takes
    NOT_CONFIGURED = "not_configured"  # the settings do not know its broker, key or host any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The events of one stream for one sink, which leave in their order; `sink` is its text."""

    stream_id: str
    sink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An event that waits: its place in the file, and since when it waits (UTC, seconds)."""

    position: int
    put_s: float
    event: WireEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up, with the reason and the time (UTC, seconds)."""

    position: int
    lane: Lane
    event: WireEvent
    reason: str
    died_s: float
