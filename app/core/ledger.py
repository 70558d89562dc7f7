"""The account of one stream: every captured frame ends in exactly one bucket."""

from collections import Counter
from collections.abc import Mapping

from app.core.result import FrameResult, Status, Summary


class LedgerError(AssertionError):
    """A frame was settled twice, or never captured: a fault of ours that must not pass."""


class Ledger:
    """Counts the frames of one stream between capture and their end."""

    def __init__(
        self, *, answered: int = 0, dropped: Mapping[str, int] | None = None, errors: Mapping[str, int] | None = None
    ) -> None:
        """Begins with frames that have ended already, where an earlier account goes on."""
        self._in_flight: set[int] = set()
        self._answered = answered
        self._dropped: Counter[str] = Counter(dropped or {})
        self._errors: Counter[str] = Counter(errors or {})
        self._captured = answered + self._dropped.total() + self._errors.total()

    @property
    def is_empty(self) -> bool:
        """Whether no frame was ever captured."""
        return self._captured == 0

    def capture(self, seq: int) -> None:
        """Frame `seq` exists from here on."""
        if seq in self._in_flight:
            raise LedgerError(f"frame {seq} was captured twice")
        self._in_flight.add(seq)
        self._captured += 1

    def settle(self, result: FrameResult) -> None:
        """Put the frame in the bucket that its result names."""
        if result.seq not in self._in_flight:
            raise LedgerError(f"frame {result.seq} is not in flight")
        self._in_flight.remove(result.seq)
        match result.status:
            case Status.RESULT:
                self._answered += 1
            case Status.DROPPED:
                self._dropped[result.reason or "unknown"] += 1
            case Status.ERROR:
                self._errors[result.reason or "unknown"] += 1

    def summary(self, *, stream_id: str, epoch: int, reason: str | None = None, detail: str | None = None) -> Summary:
        """The account as it stands."""
        return Summary(
            stream_id=stream_id,
            epoch=epoch,
            event_id=f"{stream_id}:{epoch}:summary",
            captured=self._captured,
            answered=self._answered,
            dropped=dict(self._dropped),
            errors=dict(self._errors),
            in_flight=len(self._in_flight),
            reason=reason,
            detail=detail,
        )
