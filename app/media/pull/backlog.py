"""Packets between the thread that reads a source and the one that decodes: a slow decoder skips ahead, not behind."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

FRESH: Final = 32
"""So many packets may wait: a second of a camera."""
MAX_WAITING: Final = 1_024
"""Some cameras send a key frame a minute: no more than this is kept in hope of one."""

T = TypeVar("T")


class Waiting(NamedTuple, Generic[T]):
    """A packet, and how many directly before it were given up."""

    item: T
    skipped: int


class Backlog(Generic[T]):
    """A queue between two threads. Of a live source, a key frame replaces what waits before it, if that is much.

    Otherwise frames would grow older and older in the network's buffers, where nobody sees them. Of a source that can
    wait, the reader does.
    """

    def __init__(self, *, is_live: bool) -> None:
        self._is_live = is_live
        self._waiting: deque[Waiting[T]] = deque()
        self._skipped = 0
        self._is_skipping = False
        self._has_ended = False
        self._changed = threading.Condition()

    def put(self, item: T, *, is_key: bool) -> None:
        """The next packet; `is_key` says that decoding can begin with it."""
        with self._changed:
            if not self._is_live:
                self._changed.wait_for(lambda: len(self._waiting) < FRESH)
            elif is_key:
                self._is_skipping = False
                self._skip_what_is_old()
            elif len(self._waiting) >= MAX_WAITING:
                self._is_skipping = True
            if self._is_skipping:
                self._skipped += 1
                return
            self._waiting.append(Waiting(item, self._skipped))
            self._skipped = 0
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing will follow."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Waiting[T]]:
        """The packets as they come, until the end; then `skipped` is what was given up behind the last."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._has_ended)
                if not self._waiting:
                    return
                waiting = self._waiting.popleft()
                self._changed.notify_all()
            yield waiting

    @property
    def skipped(self) -> int:
        """Packets given up that no packet came behind."""
        return self._skipped

    def _skip_what_is_old(self) -> None:
        if len(self._waiting) >= FRESH:
            self._skipped += sum(1 + waiting.skipped for waiting in self._waiting)
            self._waiting.clear()
