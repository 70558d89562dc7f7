"""The tracks of one stream as one block of numbers, a row per property and a column per track."""

import numpy as np
from numpy.typing import NDArray

from app.tracking.motion import BELIEF_ROWS, Array, Belief

UNCONFIRMED = -1
_ID, _LABEL, _HITS, _SEEN, _ROWS = range(BELIEF_ROWS, BELIEF_ROWS + 5)


class TrackTable:
    """`belief` as motion wants it, and `track_id`, `label`, `hits` and `seen_s` `(n,)`; oldest tracks first.

    All are views of one block of floats, so that to begin or forget tracks costs one copy; whole numbers are exact in it
    up to 2**53. The first `confirmed` tracks have ids, the others -1. `seen_s` is the time of the last match.
    """

    def __init__(self) -> None:
        self._hold(np.empty((_ROWS, 0)))

    def __len__(self) -> int:
        return self._block.shape[1]

    def _hold(self, block: Array) -> None:
        self._block = block
        self.belief: Belief = block[:BELIEF_ROWS]
        self.track_id, self.label, self.hits, self.seen_s = block[_ID], block[_LABEL], block[_HITS], block[_SEEN]
        self.confirmed = int(np.count_nonzero(self.track_id > 0))

    def begin(self, belief: Belief, *, label: NDArray[np.int32], seen_s: float) -> None:
        """Begin unconfirmed tracks of which this is believed, seen once."""
        block = np.empty((_ROWS, label.size))
        block[:BELIEF_ROWS] = belief
        block[_ID] = UNCONFIRMED
        block[_LABEL] = label
        block[_HITS] = 1
        block[_SEEN] = seen_s
        self._hold(np.concatenate([self._block, block], axis=1))

    def confirm(self, *, min_hits: int, next_id: int) -> int:
        """Give ids from `next_id` on to the unconfirmed tracks with enough hits, oldest first; the id after them."""
        rows = (self.hits[self.confirmed :] >= min_hits).nonzero()[0] + self.confirmed
        self.track_id[rows] = np.arange(next_id, next_id + rows.size)
        self.confirmed = int(np.count_nonzero(self.track_id > 0))
        return next_id + int(rows.size)

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Forget the tracks that are not `wanted` `(n,)`.

        Where unconfirmed tracks are forgotten as soon as a frame misses them, the older of those left has no fewer hits
        than the younger and is confirmed first: the tracks with ids stay in front.
        """
        if np.count_nonzero(wanted) < len(self):
            self._hold(self._block.compress(wanted, axis=1))
