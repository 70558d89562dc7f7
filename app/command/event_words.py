"""Events of a stream as lines for people."""

from collections import Counter

from app.core.result import (
    Event,
    FrameResult,
    Gap,
    LineCrossed,
    Status,
    StreamState,
    Summary,
    ZoneDwell,
    ZoneEntered,
    ZoneLeft,
)


def words(event: Event) -> str:
    """One line, without its end."""
    match event:
        case FrameResult():
            return _frame(event)
        case Summary():
            return f"closed: {account(event)}"
        case Gap():
            return f"frames {event.after_seq + 1} to {event.next_seq - 1} are not told of ({event.reason})"
        case StreamState():
            reason = f" ({event.reason})" if event.reason else ""
            return f"{event.state}{reason}" + (f", try {event.attempt}" if event.attempt else "")
        case LineCrossed() | ZoneEntered() | ZoneLeft() | ZoneDwell():
            return f"#{event.seq} {event.label} {event.track_id} {_moved(event)}"


def account(summary: Summary) -> str:
    """The account in words."""
    parts = [f"{summary.captured} captured", f"{summary.answered} answered"]
    parts += [f"{count} dropped ({reason})" for reason, count in sorted(summary.dropped.items())]
    parts += [f"{count} in error ({code})" for code, count in sorted(summary.errors.items())]
    return ", ".join(parts)


def _frame(result: FrameResult) -> str:
    at = f" {result.captured_at:%H:%M:%S}.{result.captured_at.microsecond // 1000:03}" if result.captured_at else ""
    if result.status is not Status.RESULT:
        detail = f": {result.detail}" if result.detail else ""
        return f"#{result.seq}{at} {result.status} ({result.reason}){detail}"
    found = Counter(one.label for one in result.objects)
    return f"#{result.seq}{at} " + (", ".join(f"{n} {label}" for label, n in sorted(found.items())) or "nothing")


def _moved(event: LineCrossed | ZoneEntered | ZoneLeft | ZoneDwell) -> str:
    match event:
        case LineCrossed():
            return f"crossed {event.line} {event.direction}"
        case ZoneEntered():
            return f"entered {event.zone}"
        case ZoneLeft():
            return f"left {event.zone} after {event.dwell_s:.1f} s"
        case ZoneDwell():
            return f"has been in {event.zone} for {event.dwell_s:.1f} s"
