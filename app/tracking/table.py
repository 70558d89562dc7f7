"""The tracks of one stream as one block of numbers, a row per property and a column per track."""

from math import inf

import numpy as np
from numpy.typing import NDArray

from app.tracking.motion import BELIEF_ROWS, Array, Belief

UNCONFIRMED = -1
IDS_PER_EPOCH = 1 << 32
"""Ids of epoch e are e * 2**32 + 1, + 2, …, so that those of a later epoch differ even for a reader who ignores it."""
_ID, _LABEL, _BEGUN, _SEEN, _SEEN_S, _ROWS = range(BELIEF_ROWS, BELIEF_ROWS + 6)


ROW_NAMES = (
    *("x", "y", "width", "height", "x_speed", "y_speed", "width_growth", "height_growth"),
    *("centre_variance", "size_variance", "centre_covariance", "size_covariance"),
    *("speed_variance", "growth_variance", "x_side", "y_side", "track_id", "label", "begun", "seen", "seen_s"),
)
"""The rows of the block in their order; see `Belief` for the first 16."""


class TrackTable:
    """`belief` as motion wants it, and `track_id`, `label`, `begun`, `seen`, `seen_s` `(n,)`; oldest first.

    All are views of one block of floats, so that to begin or forget tracks costs one copy; its whole numbers are exact
    up to 2**53. `begun` and `seen` are the numbers of the frames of the first and the last match, `seen_s` the time of
    the last.

    The first `confirmed` tracks have ids, the others -1. As an unconfirmed track is forgotten as soon as a frame misses
    it, of those left the older is always confirmed first.
    """

    def __init__(self) -> None:
        self.confirmed = 0
        self._new_ids = 0  # tracks that have an id, but are not `confirmed` yet
        self._all_since_s = -inf  # no track was last seen before this
        self._hold(np.empty((_ROWS, 0)))

    @property
    def block(self) -> Array:
        """All tracks, one row per name of `ROW_NAMES`; not a copy."""
        return self._block

    def take_up(self, block: Array, *, confirmed: int) -> None:
        """Hold the tracks of another table, `confirmed` of them with ids."""
        self.confirmed = confirmed
        self._all_since_s = -inf
        self._hold(block)

    def __len__(self) -> int:
        return int(self._block.shape[1])

    def _hold(self, block: Array) -> None:
        self._block = block
        self.belief: Belief = block[:BELIEF_ROWS]
        self.track_id: Array = block[_ID]
        self.label: Array = block[_LABEL]
        self.begun: Array = block[_BEGUN]
        self.seen: Array = block[_SEEN]
        self.seen_s: Array = block[_SEEN_S]

    def begin(self, belief: Belief, *, label: NDArray[np.int32], frame: int, now_s: float) -> None:
        """Begin unconfirmed tracks of which this is believed, seen in this frame."""
        block = np.empty((_ROWS, label.size))
        block[:BELIEF_ROWS] = belief
        block[_ID] = UNCONFIRMED
        block[_LABEL] = label
        block[_BEGUN : _SEEN + 1] = frame
        block[_SEEN_S] = now_s
        self._hold(np.concatenate((self._block, block), axis=1))

    def confirm(self, *, begun_by: int, frame: int, next_id: int) -> int:
        """Give ids from `next_id` on to unconfirmed tracks seen in this frame, begun by that one; the id after them."""
        is_due = self.begun[self.confirmed :] <= begun_by
        is_due &= self.seen[self.confirmed :] == frame
        rows = is_due.nonzero()[0]
        self._new_ids = int(rows.size)
        if rows.size:
            self.track_id[self.confirmed :][rows] = np.arange(next_id, next_id + rows.size)
        return next_id + self._new_ids

    def forget_missed(self, *, frame: int) -> None:
        """Forget the unconfirmed tracks not seen in this frame; rows just given an id are `confirmed` from here on."""
        is_seen = self.seen[self.confirmed :] == frame  # a track that was just given an id is
        if np.count_nonzero(is_seen) < is_seen.size:
            wanted = np.ones(len(self), np.bool_)
            wanted[self.confirmed :] = is_seen
            self._hold(self._block.compress(wanted, axis=1))
        self.confirmed += self._new_ids
        self._new_ids = 0

    def forget_lost(self, *, before_s: float) -> None:
        """Forget the tracks last seen before this time, which is not before that of the call before."""
        if before_s <= self._all_since_s:
            return  # most frames: the track unseen for longest still has some of its time left
        wanted = self.seen_s >= before_s
        if np.count_nonzero(wanted) < len(self):
            self.confirmed = int(np.count_nonzero(wanted[: self.confirmed]))
            self._hold(self._block.compress(wanted, axis=1))
        self._all_since_s = float(self.seen_s.min()) if len(self) else before_s
