"""ByteTrack for one stream: detections of a frame in, the same detections with identities out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Detections, Tracks
from app.tracking.assignment import Edges, Indices, Pairs, best_matching
from app.tracking.clock import StreamClock
from app.tracking.motion import Array, BoxMotion, centred
from app.tracking.overlap import overlaps
from app.tracking.parameters import TrackerParameters
from app.tracking.table import UNCONFIRMED, TrackTable

IDS_PER_EPOCH = 1 << 32
"""Ids of epoch e are e * 2**32 + 1, + 2, …, so that those of a later epoch differ even for a reader who ignores it."""

_BEFORE = float(1 << 24)  # outweighs every sum of overlaps that differs by more than rounding
_GRACE_S = 1e-6  # stamps are rounded


class _Seen(NamedTuple):
    """What of a frame takes part: `index` into its rows, `boxes` `(4, m)` as `centred`, label and score."""

    index: Indices
    boxes: Array
    label: NDArray[np.int32]
    score: NDArray[np.float32]
    is_high: NDArray[np.bool_]


class ByteTracker:
    """The tracks of one stream in one epoch; nothing is shared with other trackers. Not thread-safe.

    High-score detections are matched with the confirmed tracks, then low-score ones with those left over, and what is
    left of the high-score ones with the tracks not yet confirmed; the rest may begin tracks. Low scores thus keep a
    half-hidden object's track alive but never begin one.

    Source: ByteTrack, Zhang et al., arXiv 2110.06864, section 3, algorithm 1. Ours: all motion and all limits are in
    seconds, and the three associations are solved as one.
    """

    def __init__(self, parameters: TrackerParameters, *, epoch: int) -> None:
        self.epoch = epoch
        self._parameters = parameters
        self._motion = BoxMotion(parameters)
        self._clock = StreamClock(restart_s=parameters.max_lost_s)
        self._tracks = TrackTable()
        self._next_id = epoch * IDS_PER_EPOCH + 1
        self._min_new_score = max(parameters.high_score, parameters.min_new_score)

    def update(self, detections: Detections) -> Tracks:
        """The detections, row by row as they came, with their ids; -1 where no confirmed track is behind one.

        Rows with a coordinate or score that is not finite, or without area, belong to no track. A late frame (see
        StreamClock) is matched with the tracks where they are. After a gap of more than `max_lost_s` all ids are new.
        """
        step_s = self._clock.advance(detections.ref)
        self._forget_lost()
        self._motion.predict(self._tracks.belief, step_s=step_s)
        seen = self._seen(detections)
        rows, cols = self._associate(seen)
        track_id = np.full(len(detections.score), UNCONFIRMED, np.int64)
        track_id[seen.index.take(cols)] = self._continue(rows, boxes=seen.boxes.take(cols, axis=1))
        may_begin = seen.score >= self._min_new_score
        may_begin[cols] = False
        new = may_begin.nonzero()[0]
        if new.size:
            track_id[seen.index.take(new)] = self._begin(seen.boxes.take(new, axis=1), label=seen.label.take(new))
        return Tracks(detections=detections, track_id=track_id)

    def _forget_lost(self) -> None:
        tracks = self._tracks
        tracks.keep(tracks.seen_s >= self._clock.now_s - self._parameters.max_lost_s - _GRACE_S)

    def _seen(self, detections: Detections) -> _Seen:
        score, label, knobs = detections.score, detections.label, self._parameters
        boxes = centred(detections.xyxy.T.astype(np.float64))
        # A width is finite and positive only if both its corners are finite; a NaN compares false.
        is_usable = boxes[2:] > 0
        is_usable &= boxes[2:] < np.inf
        is_used = score >= knobs.low_score
        is_used &= is_usable[0]
        is_used &= is_usable[1]
        index = is_used.nonzero()[0]
        if index.size < score.size:
            boxes, score, label = boxes.take(index, axis=1), score.take(index), label.take(index)
        return _Seen(index, boxes, label, score, score >= knobs.high_score)

    def _associate(self, seen: _Seen) -> Pairs:
        """Matched rows of the table and indices into `seen`."""
        tracks = self._tracks
        boxes = np.concatenate([tracks.belief[:4], seen.boxes], axis=1)
        row, col, iou = overlaps(boxes, split=len(tracks), min_iou=self._parameters.min_iou)
        is_possible = iou >= self._parameters.min_iou
        is_high = seen.is_high.take(col)
        first_new = int(row.searchsorted(tracks.confirmed))
        is_possible[first_new:] &= is_high[first_new:]
        if self._parameters.is_class_aware:
            is_possible &= tracks.label.take(row) == seen.label.take(col)
        np.multiply(iou[:first_new], _BEFORE, out=iou[:first_new], where=is_high[:first_new])
        edges = Edges(row, col, iou).take(is_possible.nonzero()[0])
        return best_matching(edges, rows=len(tracks), cols=seen.index.size)

    def _continue(self, rows: Indices, *, boxes: Array) -> Array:
        """Move the tracks `rows` to where they were seen; their ids, -1 for the unconfirmed."""
        tracks = self._tracks
        self._motion.correct(tracks.belief, rows=rows, boxes=boxes)
        tracks.seen_s[rows] = self._clock.now_s
        if tracks.confirmed == len(tracks):
            return tracks.track_id.take(rows)
        tracks.hits[rows] += 1
        self._confirm()
        track_id = tracks.track_id.take(rows)
        tracks.keep((tracks.track_id > 0) | (tracks.seen_s == self._clock.now_s))
        return track_id

    def _begin(self, boxes: Array, *, label: NDArray[np.int32]) -> Array:
        """Begin tracks; their ids, -1 unless one sight is enough."""
        tracks = self._tracks
        tracks.begin(self._motion.begin(boxes), label=label, seen_s=self._clock.now_s)
        if self._parameters.min_hits == 1:
            self._confirm()
        return tracks.track_id[-label.size :]

    def _confirm(self) -> None:
        self._next_id = self._tracks.confirm(min_hits=self._parameters.min_hits, next_id=self._next_id)
