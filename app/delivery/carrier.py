"""What carries events to one destination, and what it says of each attempt."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from app.core.wire import WireEvent
from app.delivery.outbox_rows import DeadReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Consecutive events of one stream for one address: a topic, or a URL. Never empty."""

    address: str
    stream_id: str
    events: tuple[WireEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """The destination takes nothing at the moment, whatever it is offered; maybe it said for how long."""

    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The destination is there and would not have the next event, or one of the next `among`, where it does not say."""

    reason: DeadReason = DeadReason.REFUSED
    among: int = 1


Failure: TypeAlias = Unreachable | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How many of the first events of a parcel have arrived for certain, and why not more."""

    taken: int
    failure: Failure | None = None


class Carrier(Protocol):
    """A way to one destination. Parcels of different streams may be on their way at once, never two of one stream.

    `deliver` says that an event was taken only when the destination has acknowledged it. It raises nothing: trouble is
    part of the receipt. When it is cancelled, any of its events may have arrived.
    """

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Offer the events in their order."""

    async def close(self) -> None:
        """Give connections back."""
