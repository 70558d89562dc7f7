"""The tracks of one stream as one block of numbers, a row per property and a column per track."""

import numpy as np
from numpy.typing import NDArray

from app.tracking.motion import BELIEF_ROWS, Array, Belief

UNCONFIRMED = -1
_ID, _LABEL, _BEGUN, _SEEN, _ROWS = range(BELIEF_ROWS, BELIEF_ROWS + 5)


class TrackTable:
    """`belief` as motion wants it, and `track_id`, `label`, `begun`, `seen_s` `(n,)`; oldest tracks first.

    All are views of one block of floats, so that to begin or forget tracks costs one copy; whole numbers in it are exact
    up to 2**53. `seen_s` is the time of the last match, `begun` the number of the frame of the first.

    The first `confirmed` tracks have ids, the others -1. As an unconfirmed track is forgotten as soon as a frame misses
    it, of those left the older is always confirmed first.
    """

    def __init__(self) -> None:
        self.confirmed = 0
        self._hold(np.empty((_ROWS, 0)))

    def __len__(self) -> int:
        return int(self._block.shape[1])

    def _hold(self, block: Array) -> None:
        self._block = block
        self.belief: Belief = block[:BELIEF_ROWS]
        self.track_id: Array = block[_ID]
        self.label: Array = block[_LABEL]
        self.begun: Array = block[_BEGUN]
        self.seen_s: Array = block[_SEEN]

    def begin(self, belief: Belief, *, label: NDArray[np.int32], frame: int, now_s: float) -> None:
        """Begin unconfirmed tracks of which this is believed, seen in this frame."""
        block = np.empty((_ROWS, label.size))
        block[:BELIEF_ROWS] = belief
        block[_ID] = UNCONFIRMED
        block[_LABEL] = label
        block[_BEGUN] = frame
        block[_SEEN] = now_s
        self._hold(np.concatenate((self._block, block), axis=1))

    def confirm(self, *, begun_by: int, now_s: float, next_id: int) -> int:
        """Give ids from `next_id` on to the unconfirmed tracks seen now and begun by that frame; the id after them."""
        young = slice(self.confirmed, None)
        is_due = self.begun[young] <= begun_by
        is_due &= self.seen_s[young] == now_s
        rows = is_due.nonzero()[0]
        if rows.size:
            self.track_id[young][rows] = np.arange(next_id, next_id + rows.size)
        return next_id + int(rows.size)

    def forget_missed(self, *, now_s: float) -> None:
        """Forget the unconfirmed tracks not seen now; the rows just given an id count as `confirmed` from here on."""
        wanted = self.seen_s == now_s
        wanted |= self.track_id > 0
        if np.count_nonzero(wanted) < len(self):
            self._hold(self._block.compress(wanted, axis=1))
        self.confirmed = int(np.count_nonzero(self.track_id > 0))

    def forget_lost(self, *, before_s: float) -> None:
        """Forget the tracks last seen before this time."""
        wanted = self.seen_s >= before_s
        if np.count_nonzero(wanted) < len(self):
            self.confirmed = int(np.count_nonzero(wanted[: self.confirmed]))
            self._hold(self._block.compress(wanted, axis=1))
