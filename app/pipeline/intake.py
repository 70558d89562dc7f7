"""The door of one live stream: a bounded mailbox before the path, the account, and results in the order of capture."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.core.errors import SightlineError
from app.core.frame import EncodedFrame, Frame, FrameRef
from app.core.ledger import Ledger
from app.core.outcome import Dropped, DropReason
from app.core.result import FrameResult, Summary
from app.core.video import FrameMode
from app.media.sampling import Sampler
from app.pipeline.results import drop, failure


@dataclass(slots=True)
class _Open:
    """A captured frame that has no end yet, or whose end waits for those before it."""

    ref: FrameRef
    frame: EncodedFrame | Frame | None
    """None once its work is under way, or not wanted any more: the picture's memory is not ours to hold."""
    is_taken: bool = False
    end: FrameResult | None = None


class StreamIntake:
    """Takes in the frames of one stream, hands them on, and gives back one end for each, in the order of capture.

    At most `depth` frames wait and `max_taken` are being worked on. Where another comes, `latest_frame` drops the
    oldest that waits, the other modes the new one. Sequence numbers strictly increase (MISSION.md row 77): what does
    not is a frame sent again, and is not captured twice. Ends of another epoch, of frames that have ended and of
    frames never captured change nothing. No thread, no clock, no I/O. Behind a frame that never ends a
    result of about 1 kB is kept for each that follows: whoever owns the worker calls `lose` after a time limit.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        mode: FrameMode,
        fps: float | None,
        depth: int,
        max_taken: int,
        ledger: Ledger | None = None,
        last_seq: int = -1,
        epoch: int = 0,
    ) -> None:
        """Where a stream goes on, `ledger` and `last_seq` are those of the frames that have ended."""
        self.stream_id = stream_id
        self.epoch = epoch
        self.fenced = 0
        """Ends that belonged to another epoch, or came twice."""
        self._ledger = ledger or Ledger()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._last_seq = last_seq
        self.reconfigure(mode=mode, fps=fps, depth=depth, max_taken=max_taken)

    def reconfigure(self, *, mode: FrameMode, fps: float | None, depth: int, max_taken: int) -> None:
        """What comes from now on is taken in this way; what waits goes on waiting."""
        self._keeps_latest = mode is FrameMode.LATEST_FRAME
        self._sampler = Sampler(fps=fps) if mode is FrameMode.TARGET_FPS and fps is not None else None
        self._depth = depth
        self._max_taken = max_taken

    @property
    def last_seq(self) -> int:
        """The newest captured frame, to be acknowledged to the sender; -1 before the first."""
        return self._last_seq

    @property
    def open_seqs(self) -> list[int]:
        """The captured frames that have not been given out with their end."""
        return list(self._open)

    def offer(self, frame: EncodedFrame | Frame, *, dropped: DropReason | None = None) -> list[FrameResult]:
        """Capture a frame; the ends that this brings about. A frame that was sent before is passed over.

        With `dropped` it was lost on its way here, for that reason, and ends so.
        """
        seq = frame.ref.seq
        if seq <= self._last_seq:
            return []
        self._last_seq = seq
        frame = replace(frame, ref=replace(frame.ref, stream_id=self.stream_id, epoch=self.epoch))
        self._ledger.capture(seq)
        waiting = self._waiting()
        self._open[seq] = _Open(frame.ref, frame)
        stamp_s = frame.ref.stamp_s
        if dropped is not None:
            self._end(self._dropped(seq, dropped))
        elif self._sampler is not None and stamp_s is not None and not self._sampler.is_due(stamp_s):
            self._end(self._dropped(seq, DropReason.SAMPLED))
        elif len(waiting) >= self._depth:
            oldest = waiting[0] if self._keeps_latest else seq
            self._end(self._dropped(oldest, DropReason.SUPERSEDED if self._keeps_latest else DropReason.OVERLOADED))
        return self._release()

    def take(self) -> list[EncodedFrame | Frame]:
        """The frames to be worked on next, in order; none while `max_taken` are under way."""
        room = self._max_taken - sum(entry.is_taken and entry.end is None for entry in self._open.values())
        return [self._hand_over(self._open[seq]) for seq in self._waiting()[: max(0, room)]]

    def _hand_over(self, entry: _Open) -> EncodedFrame | Frame:
        assert entry.frame is not None  # noqa: S101  it waits
        frame, entry.frame, entry.is_taken = entry.frame, None, True
        return frame

    def settle(self, ends: Iterable[FrameResult]) -> list[FrameResult]:
        """Note how frames ended; those ends that are next in order, each given out once."""
        for end in ends:
            entry = self._open.get(end.seq)
            if end.epoch != self.epoch or entry is None or not entry.is_taken or entry.end is not None:
                self.fenced += 1
                continue
            self._end(end)
        return self._release()

    def lose(self, error: SightlineError) -> list[FrameResult]:
        """End what is being worked on in `error`: its worker is gone. What waits goes on."""
        return self._fail([seq for seq, entry in self._open.items() if entry.is_taken and entry.end is None], error)

    def close(self, error: SightlineError) -> list[FrameResult]:
        """End every frame that is still open in `error`."""
        return self._fail([seq for seq, entry in self._open.items() if entry.end is None], error)

    def summary(self) -> Summary:
        """The account: `captured = answered + Σ dropped + Σ errors + in_flight`, at every moment."""
        return self._ledger.summary(stream_id=self.stream_id, epoch=self.epoch)

    def _waiting(self) -> list[int]:
        return [seq for seq, entry in self._open.items() if not entry.is_taken and entry.end is None]

    def _dropped(self, seq: int, reason: DropReason) -> FrameResult:
        return drop(Dropped(ref=self._open[seq].ref, reason=reason))

    def _fail(self, seqs: list[int], error: SightlineError) -> list[FrameResult]:
        for seq in seqs:
            self._end(failure(self._open[seq].ref, error))
        return self._release()

    def _end(self, end: FrameResult) -> None:
        entry = self._open[end.seq]
        entry.end, entry.frame = end, None

    def _release(self) -> list[FrameResult]:
        """The ends with nothing unfinished before them; settled here, as this is where they leave."""
        released: list[FrameResult] = []
        while self._open:
            end = next(iter(self._open.values())).end
            if end is None:
                break
            self._open.popitem(last=False)
            self._ledger.settle(end)
            released.append(end)
        return released
