"""The seam below the streams: what outlives their owner, and who the owner is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.core.wire import WireEvent
from app.pipeline.stream_spec import StreamSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """All that a stream has come to after frame `last_seq` (-1: none yet): what the next owner goes on from.

    `tracker` are the bytes of `ByteTracker.snapshot`, None before the first answer; `counter` is that of
    `StreamCounter.snapshot`; `model` is name and version of what answered last. The ledger holds only frames that have
    ended. All events before position `delivered` are with the sinks' outbox.
    """

    epoch: int
    last_seq: int
    answered: int
    dropped: dict[str, int]
    errors: dict[str, int]
    tracker: bytes | None
    counter: dict[str, Any]
    state_events: int = 0
    model: tuple[str, str] | None = None
    delivered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to a stream, until the next claim. `epoch` is to be begun where `state` is None, else `state.epoch`.

    `events` are the last ones told, the first of them at `position`.
    """

    term: int
    epoch: int
    spec: StreamSpec
    state: StreamState | None
    events: tuple[WireEvent, ...] = ()
    position: int = 0


class StreamStore(Protocol):
    """Terms decide who owns a stream: each claim has a higher one, and only the newest may save.

    An owner tells nothing before it is saved: so no two owners ever tell the same frame, and one that was declared dead
    and goes on working tells nothing at all. Term, epoch and spec outlive the store's own process; the state need not,
    and a claim that finds none has a new epoch. Every call may raise UnavailableError.
    """

    async def create(self, stream_id: str, spec: StreamSpec) -> Claim:
        """A new stream with its first claim."""

    async def claim(self, stream_id: str) -> Claim:
        """Take a stream over; NotFoundError when there is none of that name."""

    async def save(self, stream_id: str, *, term: int, state: StreamState, events: Sequence[WireEvent]) -> None:
        """Replace the state and append the events; MovedError when the term is no longer the newest."""

    async def respecify(self, stream_id: str, *, term: int, spec: StreamSpec) -> None:
        """Replace the spec; MovedError when the term is no longer the newest."""

    async def remove(self, stream_id: str, *, term: int) -> None:
        """Forget the stream; MovedError when the term is no longer the newest."""

    async def streams(self) -> dict[str, StreamSpec]:
        """Every stream by name, in the order of opening."""

    async def secret(self) -> bytes:
        """32 random bytes, the same for everybody who asks."""
