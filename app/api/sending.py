"""What one connection has sent of one stream: kept until its end was told, offered in order, bounded and counted."""

from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from app.api.bodies import BodyBudget, Lease
from app.api.sent_frame import SentFrame
from app.core.errors import OverloadedError
from app.core.outcome import DropReason
from app.pipeline.stream_host import Offer
from app.policy.sequence import Sequence, unwrap


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderLimits:
    """`early_frames` may come before the stream's own window is known; `held_bytes` are all pictures that are held.

    Beyond the window come `surplus_frames` at the most, without their pictures. An offer has `batch_frames`, and as
    long as it has several, `batch_bytes`.
    """

    early_frames: int = 8
    held_bytes: int = 64 * 1024**2
    surplus_frames: int = 1024
    batch_frames: int = 16
    batch_bytes: int = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class _Held:
    sent: SentFrame
    lease: Lease


class StreamSender:
    """The frames of one stream between a connection and whoever owns the stream. No clock, no I/O.

    Frames are numbered by the sender and only grow: one that does not is passed over, because it came before. A credit
    is one frame; each frame, whatever becomes of it, gives its credit back when its end is told. A frame over the
    window, or over the memory that is there, is offered without its picture, to end as `overloaded`.
    """

    def __init__(self, budget: BodyBudget, limits: SenderLimits) -> None:
        self.surplus = 0
        """Frames that came over the window or the memory."""
        self.repeated = 0
        """Frames that had come before."""
        self.ignored = 0
        """Frames that came after `stop`: never captured, so that the client sends them again elsewhere."""
        self._budget = budget
        self._limits = limits
        self._window = limits.early_frames
        self._early: deque[_Held] = deque()
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._held_bytes = 0
        self._waiting: deque[int] = deque()
        self._is_open = False
        self._is_stopped = False
        self._offering = -1  # the newest of the last batch
        self._offered = -1  # the newest that the owner has taken, as far as we know
        self._newest = -1
        self._taken = -1
        self._told = -1
        self._told_again = False
        self._acked = -1
        self._received, self._ended, self._granted = 0, 0, 0

    def open(self, *, last_seq: int, told: int, window: int) -> None:
        """The stream is known: its newest captured frame, the newest whose end the client has, and its window."""
        self._is_open = True
        self._newest, self._told, self._window = last_seq, told, window
        while self._early:
            self._keep(self._early.popleft())

    @property
    def told(self) -> int:
        """Up to this frame all have had their end told; -1 before the first."""
        return self._told

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held."""
        return not self._held and not self._early

    @property
    def awaited(self) -> int | None:
        """The newest frame that the owner has taken and not ended yet."""
        oldest = next(iter(self._held), None)
        return None if oldest is None or oldest > self._offered else self._offered

    def take(self, sent: SentFrame) -> None:
        """Take a frame in; OverloadedError from a sender that goes on although nothing more can be noted down."""
        if self._is_stopped:
            self.ignored += 1
            return
        if self._received - self._ended >= self._window + self._limits.surplus_frames:
            raise OverloadedError("more frames were sent than there are credits, and by far")
        self._received += 1
        if self._is_open and self._is_repeat(sent):
            self._note_repeat()
            self._ended += 1
            return
        offer, lease = sent.offer, Lease(self._budget)
        if offer.dropped is None and not self._has_room(len(offer.data), lease):
            self.surplus += 1
            offer = replace(offer, data=b"", dropped=DropReason.OVERLOADED)
        self._held_bytes += len(offer.data)
        held = _Held(replace(sent, offer=offer), lease)
        if self._is_open:
            self._keep(held)
        else:
            self._early.append(held)

    def pass_over(self) -> None:
        """A frame came that cannot be captured: its credit goes back."""
        self._received += 1
        self._ended += 1

    @property
    def after_seq(self) -> int:
        """What the next owner must know to take the next batch; -1 when it need not know anything."""
        return -1 if self.awaited is None else self.awaited

    def batch(self) -> list[Offer]:
        """The next frames to offer, in order; none when all are at the owner."""
        offers: list[Offer] = []
        n_bytes = 0
        while self._waiting and len(offers) < self._limits.batch_frames:
            seq = self._waiting[0]
            offer = self._held[seq].sent.offer
            n_bytes += len(offer.data)
            if offers and n_bytes > self._limits.batch_bytes:
                break
            offers.append(replace(offer, seq=seq))
            self._offering = seq
            self._waiting.popleft()
        return offers

    def accepted(self, *, window: int) -> None:
        """The owner has taken the last batch; from now on `window` frames may be open."""
        self._offered = self._offering
        self._window = window

    def offer_again(self) -> None:
        """The owner is another one: what has no end yet is to be offered once more, from the oldest on."""
        self._waiting = deque(self._held)
        self._offered = -1

    def settle(self, seq: int) -> None:
        """The end of frame `seq` was told: ends come in order, so that every frame before has its own too."""
        self._told = max(self._told, seq)
        self._newest = max(self._newest, seq)
        while self._held and next(iter(self._held)) <= seq:
            _, held = self._held.popitem(last=False)
            self._let_go(held)
        while self._waiting and self._waiting[0] <= seq:
            self._waiting.popleft()

    def grant(self) -> int:
        """The credits to tell now: so many frames more than were told before may be sent. 0: nothing to tell."""
        if self._is_stopped or not self._is_open:
            return 0
        frames = max(0, self._ended + self._window - self._granted)
        self._granted += frames
        return frames

    def ack(self) -> int | None:
        """The frame up to which the client may forget, where that is news to it; None for one that only reads."""
        if not self._received or self._told < 0 or (self._told == self._acked and not self._told_again):
            return None
        self._acked, self._told_again = self._told, False
        return self._told

    def stop(self) -> None:
        """Take nothing more; what is held goes on."""
        self._is_stopped = True

    def release(self) -> None:
        """Forget everything."""
        for held in (*self._early, *self._held.values()):
            held.lease.release()
        self._early.clear()
        self._held.clear()
        self._waiting.clear()
        self._held_bytes = 0

    def _seq_of(self, sent: SentFrame) -> int:
        if sent.offer.seq is not None:
            return sent.offer.seq
        if sent.abs16 is not None:
            return unwrap(Sequence(last=self._newest if self._newest >= 0 else None), sent.abs16)
        return self._newest + 1

    def _is_repeat(self, sent: SentFrame) -> bool:
        return self._seq_of(sent) <= max(self._taken, self._told)

    def _note_repeat(self) -> None:
        self.repeated += 1
        self._told_again = True

    def _has_room(self, n_bytes: int, lease: Lease) -> bool:
        if self._received - self._ended > self._window or self._held_bytes + n_bytes > self._limits.held_bytes:
            return False
        try:
            lease.grow(n_bytes)
        except OverloadedError:
            return False
        return True

    def _keep(self, held: _Held) -> None:
        if self._is_repeat(held.sent):
            self._note_repeat()
            self._let_go(held)
            return
        seq = self._seq_of(held.sent)
        self._held[seq] = held
        self._waiting.append(seq)
        self._taken = seq
        self._newest = max(self._newest, seq)

    def _let_go(self, held: _Held) -> None:
        held.lease.release()
        self._held_bytes -= len(held.sent.offer.data)
        self._ended += 1
