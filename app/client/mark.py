"""What a reader has of a stream: each event once, whatever connection brings it, and where to go on after a cut."""

from collections import OrderedDict
from typing import Final

from app.core.result import Event, FrameResult, Gap

REMEMBERED: Final = 4096
"""Ids of events. What comes again after a cut lies between the last result and the newest event: a few at the most."""


class ReadingMark:
    """`since` is the frame whose result was read last: a connection goes on behind it."""

    def __init__(self, since: int) -> None:
        self.since = since
        self._known: OrderedDict[str, None] = OrderedDict()

    def is_new(self, event: Event) -> bool:
        """Note the event; whether it had not been read before. A refusal has no id and is always new."""
        if event.event_id and event.event_id in self._known:
            return False
        if event.event_id:
            self._known[event.event_id] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if isinstance(event, FrameResult) and event.event_id:
            self.since = event.seq  # the last, not the highest: numbers may begin anew with an epoch
        elif isinstance(event, Gap):
            self.since = event.next_seq - 1
        return True
