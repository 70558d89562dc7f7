"""What a live connection tells its client: the stream's events, and what only transports carry."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from app.contract.events import wire
from app.core.errors import SightlineError
from app.core.frame import FrameRef
from app.core.wire import WireEvent
from app.pipeline.results import failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """So many frames more may be sent."""

    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Every frame up to `seq` is captured, its end told and saved: the sender may forget it."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The connection is about to end: connect anew after `reconnect_after_s`. The last one told is the right one."""

    resume_token: str
    reason: str
    reconnect_after_s: float


Told: TypeAlias = WireEvent | Credit | Ack | GoAway
"""What goes to the client. A refused frame is a FrameResult without an `event_id`: it was never captured."""


def refusal(error: SightlineError, *, stream_id: str, seq: int) -> WireEvent:
    """The end of a frame that was never captured, or the word that the stream cannot be had."""
    end = failure(FrameRef(stream_id=stream_id, seq=seq), error)
    return wire(replace(end, event_id=""))
