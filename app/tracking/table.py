"""The tracks of one stream as one block of numbers, a row per property and a column per track."""

import numpy as np
from numpy.typing import NDArray

from app.tracking.motion import Array, Mean, Spread

UNCONFIRMED = -1
_MEAN, _SPREAD, _ID, _LABEL, _HITS, _SEEN, _ROWS = slice(0, 8), slice(8, 14), 14, 15, 16, 17, 18


class TrackTable:
    """`mean` and `spread` as motion wants them, and `track_id`, `label`, `hits`, `seen_s` `(n,)`; oldest tracks first.

    All are views of one block of floats, so that to begin or forget tracks costs one copy. Whole numbers are exact in it
    up to 2**53. `track_id` is -1 until a track is confirmed, `seen_s` the time of its last match.
    """

    def __init__(self) -> None:
        self._hold(np.empty((_ROWS, 0)))

    def __len__(self) -> int:
        return self._block.shape[1]

    def _hold(self, block: Array) -> None:
        self._block = block
        self.mean: Mean = block[_MEAN].reshape(2, 2, 2, -1) if block.size else np.empty((2, 2, 2, 0))
        self.spread: Spread = block[_SPREAD].reshape(3, 2, -1) if block.size else np.empty((3, 2, 0))
        self.track_id, self.label, self.hits, self.seen_s = block[_ID], block[_LABEL], block[_HITS], block[_SEEN]

    @property
    def boxes(self) -> Array:
        """Columns of centre x, centre y, width, height `(4, n)`."""
        return self._block[:4]

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Forget the tracks that are not `wanted` `(n,)`."""
        if np.count_nonzero(wanted) < len(self):
            self._hold(self._block.compress(wanted, axis=1))

    def append(self, boxes: Array, spread: Spread, *, label: NDArray[np.int32], seen_s: float) -> None:
        """Begin unconfirmed tracks at `boxes` `(4, m)`, seen once."""
        block = np.zeros((_ROWS, label.size))
        block[:4] = boxes
        block[_SPREAD] = spread.reshape(6, -1)
        block[_ID] = UNCONFIRMED
        block[_LABEL] = label
        block[_HITS] = 1
        block[_SEEN] = seen_s
        self._hold(np.concatenate([self._block, block], axis=1))
