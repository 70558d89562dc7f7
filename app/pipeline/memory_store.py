"""The streams' store in one process: nothing of it outlives the process."""

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import ConflictError, MovedError, NotFoundError
from app.core.wire import WireEvent
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import Claim, StreamState


@dataclass(slots=True, kw_only=True)
class _Kept:
    """One stream. `told` counts every event that it was ever given; `events` are the last of them."""

    spec: StreamSpec
    events: deque[WireEvent]
    term: int = 1
    epoch: int = 0
    told: int = 0
    state: StreamState | None = None

    def as_claim(self) -> Claim:
        return Claim(
            term=self.term,
            epoch=self.epoch,
            spec=self.spec,
            state=self.state,
            events=tuple(self.events),
            position=self.told - len(self.events),
        )


class MemoryStore:
    """A StreamStore of plain dicts that keeps the last `history` events of each stream.

    It shares the frozen values that it is given and copies none. A second `create` of one name is a ConflictError; of a
    stream that was removed no term is the newest. For one event loop.
    """

    def __init__(self, *, history: int = 1024) -> None:
        self._history = history
        self._streams: dict[str, _Kept] = {}
        self._secret = secrets.token_bytes(32)

    async def create(self, stream_id: str, spec: StreamSpec) -> Claim:
        """A new stream with its first claim."""
        if stream_id in self._streams:
            raise ConflictError("there is a stream of that name")
        kept = self._streams[stream_id] = _Kept(spec=spec, events=deque(maxlen=self._history))
        return kept.as_claim()

    async def claim(self, stream_id: str) -> Claim:
        """Take a stream over; NotFoundError when there is none of that name."""
        if stream_id not in self._streams:
            raise NotFoundError("there is no such stream")
        kept = self._streams[stream_id]
        kept.term += 1
        if kept.state is None:
            kept.epoch += 1
        return kept.as_claim()

    async def save(self, stream_id: str, *, term: int, state: StreamState, events: Sequence[WireEvent]) -> None:
        """Replace the state and append the events; MovedError when the term is no longer the newest."""
        kept = self._owned(stream_id, term=term)
        kept.state, kept.epoch = state, state.epoch
        kept.events.extend(events)
        kept.told += len(events)

    async def respecify(self, stream_id: str, *, term: int, spec: StreamSpec) -> None:
        """Replace the spec; MovedError when the term is no longer the newest."""
        self._owned(stream_id, term=term).spec = spec

    async def remove(self, stream_id: str, *, term: int) -> None:
        """Forget the stream; MovedError when the term is no longer the newest."""
        self._owned(stream_id, term=term)
        del self._streams[stream_id]

    async def streams(self) -> dict[str, StreamSpec]:
        """Every stream by name, in the order of opening."""
        return {stream_id: kept.spec for stream_id, kept in self._streams.items()}

    async def secret(self) -> bytes:
        """32 random bytes, the same for everybody who asks."""
        return self._secret

    def _owned(self, stream_id: str, *, term: int) -> _Kept:
        kept = self._streams.get(stream_id)
        if kept is None or term != kept.term:
            raise MovedError
        return kept
