"""The frames of one stream at their sender: numbered, bounded, kept until their end was told, sent by credit."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import Final

from app.core.outcome import DropReason

MAX_KEPT: Final = 4096
"""Frames and notes of dropped ones. Notes beyond that are forgotten: the service tells of a gap in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFrame:
    """One captured frame; `captured_at` is UTC in seconds. With `dropped` only a note remains of it, without data."""

    seq: int
    data: bytes
    captured_at: float
    metadata: dict[str, str] = field(default_factory=dict)
    dropped: DropReason | None = None


class Outbox:
    """Frames without their end, in order, between who captures them and one connection after another.

    At most `max_frames` of `max_bytes` together are held; then it `is_full`, and whoever adds has to wait. One that
    `keeps_latest` is never full: of the frames that no connection has taken yet only the newest keeps its picture, the
    others become notes that they were superseded. What was sent stays, bounded by the service's credits. No clock, no
    I/O.
    """

    def __init__(self, *, keeps_latest: bool, first_seq: int, max_frames: int, max_bytes: int) -> None:
        self._keeps_latest = keeps_latest
        self._next_seq = first_seq
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: OrderedDict[int, OutgoingFrame] = OrderedDict()
        self._unsent: deque[int] = deque()
        self._credit = 0
        self._is_open = False
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_full(self) -> bool:
        """Whether the next frame has to wait."""
        if self._keeps_latest:
            return False
        return len(self._frames) >= self._max_frames or self._held_bytes >= self._max_bytes

    def add(self, data: bytes, *, captured_at: float, metadata: dict[str, str]) -> int:
        """Keep a frame, to be sent when its turn comes; its number."""
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        if self._keeps_latest:
            self._supersede()
        self._frames[seq] = OutgoingFrame(seq=seq, data=data, captured_at=captured_at, metadata=metadata)
        self._unsent.append(seq)
        self._held_bytes += len(data)
        return seq

    def connect(self) -> None:
        """A new connection: it has no credit yet, and everything without an end is sent over it again, in order."""
        self._is_open = True
        self._credit = 0
        self._unsent = deque(self._frames)

    def disconnect(self) -> None:
        """Nothing more goes over this connection, whatever credits still come."""
        self._is_open = False

    def grant(self, frames: int) -> None:
        """The connection gave credits."""
        self._credit += frames

    def take(self) -> OutgoingFrame | None:
        """The next frame to send; None when there is none, or no credit for it."""
        if not self._is_open or self._credit < 1 or not self._unsent:
            return None
        self._credit -= 1
        return self._frames[self._unsent.popleft()]

    def settle(self, seq: int) -> None:
        """Every frame up to `seq` has its end: forget them."""
        while self._frames and next(iter(self._frames)) <= seq:
            self._forget(next(iter(self._frames)))
        while self._unsent and self._unsent[0] <= seq:
            self._unsent.popleft()

    def refuse(self, seq: int) -> None:
        """That frame alone was refused, and is never captured."""
        if seq in self._frames:
            self._forget(seq)
        if seq in self._unsent:
            self._unsent.remove(seq)

    def _forget(self, seq: int) -> None:
        self._held_bytes -= len(self._frames.pop(seq).data)

    def _supersede(self) -> None:
        """Only the last can have its picture still: each frame did this to the one before."""
        last = self._frames[self._unsent[-1]] if self._unsent else None
        if last is not None and last.dropped is None:
            self._held_bytes -= len(last.data)
            self._frames[last.seq] = replace(last, data=b"", dropped=DropReason.SUPERSEDED)
        if len(self._frames) >= MAX_KEPT:
            oldest = next((seq for seq in self._unsent if self._frames[seq].dropped is not None), None)
            if oldest is not None:
                self.refuse(oldest)
