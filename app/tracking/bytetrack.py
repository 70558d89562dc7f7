"""ByteTrack for one stream: detections of a frame in, the same detections with identities out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Detections, Tracks
from app.tracking.assignment import Edges, Indices, Pairs, best_matching, joined
from app.tracking.clock import StreamClock
from app.tracking.motion import BoxMotion, centred, cornered
from app.tracking.overlap import overlaps
from app.tracking.parameters import TrackerParameters
from app.tracking.table import UNCONFIRMED, TrackTable

IDS_PER_EPOCH = 1 << 32
"""Ids of epoch e are e * 2**32 + 1, + 2, …, so that those of a later epoch differ even for a reader who ignores it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What of a frame can take part: `index` into its rows, corners and centred boxes `(4, m)`, and is the score high."""

    index: Indices
    xyxy: NDArray[np.float64]
    boxes: NDArray[np.float64]
    label: NDArray[np.int32]
    is_high: NDArray[np.bool_]
    may_begin: NDArray[np.bool_]


class ByteTracker:
    """The tracks of one stream in one epoch; nothing is shared with other trackers. Not thread-safe.

    High-score detections are matched with the confirmed tracks, then low-score ones with those left over, and what is
    left of the high-score ones with the tracks not yet confirmed; the rest may begin tracks. Low scores thus keep a
    half-hidden object's track alive but never begin one.

    Source: ByteTrack, Zhang et al., arXiv 2110.06864, section 3, algorithm 1. Ours: all motion and all limits are in
    seconds, and low scores may continue a track by its age instead of by its state.
    """

    def __init__(self, parameters: TrackerParameters, *, epoch: int) -> None:
        self.epoch = epoch
        self._parameters = parameters
        self._motion = BoxMotion(parameters)
        self._clock = StreamClock(restart_s=parameters.max_lost_s)
        self._tracks = TrackTable()
        self._last_id = epoch * IDS_PER_EPOCH
        knobs = parameters
        # by 2 * (is the track confirmed) + (is the score high)
        self._min_iou = np.array([np.inf, knobs.min_iou_new, knobs.min_iou_low, knobs.min_iou_high])

    def update(self, detections: Detections) -> Tracks:
        """The detections, row by row as they came, with their ids; -1 where no confirmed track is behind one.

        Rows with a coordinate or score that is not finite, or without area, belong to no track. A late frame (see
        StreamClock) is matched with the tracks where they are. After a gap of more than `max_lost_s` all ids are new.
        """
        tracks = self._tracks
        step_s = self._clock.advance(detections.ref)
        now_s = self._clock.now_s
        tracks.keep(tracks.seen_s >= now_s - self._parameters.max_lost_s)
        self._motion.predict(tracks.mean, tracks.spread, step_s=step_s)
        seen = self._seen(detections)
        rows, cols = self._associate(seen)
        self._motion.correct(tracks.mean, tracks.spread, rows=rows, boxes=seen.boxes.take(cols, axis=1))
        tracks.seen_s[rows] = now_s
        tracks.hits[rows] += 1
        self._confirm()
        track_id = np.full(len(detections.score), UNCONFIRMED, np.int64)
        track_id[seen.index.take(cols)] = tracks.track_id.take(rows)
        new = self._begin(seen, cols)
        track_id[seen.index.take(new)] = tracks.track_id[len(tracks) - new.size :]
        return Tracks(detections=detections, track_id=track_id)

    def _seen(self, detections: Detections) -> _Seen:
        knobs = self._parameters
        xyxy, score, label = detections.xyxy.T.astype(np.float64), detections.score, detections.label
        boxes = centred(xyxy)
        # A width is finite and positive only if both its corners are finite; a NaN compares false.
        is_usable = (boxes[2:] > 0) & (boxes[2:] < np.inf)
        index = (is_usable[0] & is_usable[1] & (score >= knobs.low_score)).nonzero()[0]
        if index.size < score.size:
            xyxy, boxes = xyxy.take(index, axis=1), boxes.take(index, axis=1)
            score, label = score.take(index), label.take(index)
        is_high = score >= knobs.high_score
        return _Seen(index, xyxy, boxes, label, is_high, score >= max(knobs.high_score, knobs.min_new_score))

    def _associate(self, seen: _Seen) -> Pairs:
        """Matched rows of the table and indices into `seen`."""
        tracks = self._tracks
        rows, cols = len(tracks), seen.index.size
        row, col, iou = overlaps(cornered(tracks.boxes), seen.xyxy)
        is_confirmed = tracks.track_id >= 0
        kind = 2 * is_confirmed.take(row) + seen.is_high.take(col)
        is_possible = iou >= self._min_iou.take(kind)
        if self._parameters.is_class_aware:
            is_possible &= tracks.label.take(row) == seen.label.take(col)
        is_first = kind == 3
        first = best_matching(Edges(row, col, iou).where(is_possible & is_first), rows=rows, cols=cols)
        is_recent = tracks.seen_s >= self._clock.now_s - self._parameters.max_weak_s
        is_recent |= ~is_confirmed
        # The second association has confirmed tracks and low scores, the third the others of both: no edge joins
        # one with the other, so they are solved at once.
        is_open_row, is_open_col = is_recent, np.ones(cols, np.bool_)
        is_open_row[first[0]] = False
        is_open_col[first[1]] = False
        is_possible &= ~is_first
        is_possible &= is_open_row.take(row) & is_open_col.take(col)
        rest = best_matching(Edges(row, col, iou).where(is_possible), rows=rows, cols=cols)
        return joined([first, rest])

    def _begin(self, seen: _Seen, cols: Indices) -> Indices:
        """Forget unconfirmed tracks that were missed, begin tracks from good detections not among the matched `cols`.

        Comes back with their indices into `seen`; their tracks are the last rows of the table.
        """
        tracks, now_s = self._tracks, self._clock.now_s
        tracks.keep((tracks.track_id >= 0) | (tracks.seen_s == now_s))
        may_begin = seen.may_begin.copy()
        may_begin[cols] = False
        new = may_begin.nonzero()[0]
        if new.size:
            spread = self._motion.begin(new.size)
            tracks.append(seen.boxes.take(new, axis=1), spread, label=seen.label.take(new), seen_s=now_s)
            self._confirm()
        return new

    def _confirm(self) -> None:
        """Give ids to the tracks with enough hits, oldest first."""
        tracks = self._tracks
        due = ((tracks.track_id < 0) & (tracks.hits >= self._parameters.min_hits)).nonzero()[0]
        if due.size:
            tracks.track_id[due] = self._last_id + 1 + np.arange(due.size)
            self._last_id += int(due.size)
