"""ByteTrack for one stream: detections of a frame in, the same detections with identities out."""

from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.frame import Detections, Tracks
from app.tracking.assignment import Indices, best_matching
from app.tracking.clock import StreamClock
from app.tracking.motion import Array, Belief, BoxMotion, centred
from app.tracking.overlap import overlaps
from app.tracking.parameters import TrackerParameters
from app.tracking.rim import Rim
from app.tracking.snapshot import TrackerState, decode, encode
from app.tracking.table import IDS_PER_EPOCH, UNCONFIRMED, TrackTable

_BEFORE = float(1 << 24)  # outweighs every sum of overlaps that differs by more than rounding
_GRACE_S = 1e-6  # stamps are rounded


class _Seen(NamedTuple):
    """What of a frame takes part: `boxes` `(4, m)` as `centred`, their `Rim.sides`, label, score, and `place`.

    `place` is the row of each in the frame, None where that is its own number.
    """

    place: Indices | None
    boxes: Array
    sides: Array | None
    label: NDArray[np.int32]
    score: NDArray[np.float32]


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
        self._frame = 0
        self._rim = Rim(width_px=0, height_px=0)

    def update(self, detections: Detections) -> Tracks:
        """The detections, row by row as they came, with their ids; -1 where no confirmed track is behind one.

        Rows with a coordinate or score that is not finite, or without area, belong to no track. A late frame (see
        StreamClock) is matched with the tracks where they are. After a gap of more than `max_lost_s` all ids are new.
        """
        tracks = self._tracks
        step_s = self._clock.advance(detections.ref)
        self._frame += 1
        tracks.forget_lost(before_s=self._clock.now_s - self._parameters.max_lost_s - _GRACE_S)
        self._motion.predict(tracks.belief, step_s=step_s)
        seen = self._seen(detections)
        matched = self._associate(seen)
        rows, cols = matched[0], matched[1]
        track_id = np.full(seen.score.size, UNCONFIRMED, np.int64)
        track_id[cols] = self._continue(rows, boxes=seen.boxes.take(cols, axis=1), sides=_taken(seen.sides, cols))
        may_begin = seen.score >= self._min_new_score
        may_begin[cols] = False
        new = may_begin.nonzero()[0]
        if new.size:
            belief = self._motion.begin(seen.boxes.take(new, axis=1), sides=_taken(seen.sides, new))
            track_id[new] = self._begin(belief, label=seen.label.take(new))
        if seen.place is not None:
            all_ids = np.full(len(detections.score), UNCONFIRMED, np.int64)
            all_ids[seen.place] = track_id
            track_id = all_ids
        return Tracks(detections=detections, track_id=track_id)

    def snapshot(self) -> bytes:
        """All that later frames depend on, for `restore`. SnapshotError when `app.tracking.snapshot` cannot hold it."""
        tracks = self._tracks
        state = TrackerState(
            epoch=self.epoch,
            next_id=self._next_id,
            frame=self._frame,
            step_s=self._motion.step_s,
            clock=self._clock.state(),
            confirmed=tracks.confirmed,
            block=tracks.block,
        )
        return encode(state, self._parameters)

    @classmethod
    def restore(cls, data: bytes, parameters: TrackerParameters) -> "ByteTracker":
        """A tracker that goes on bit for bit as the one that wrote `data`, ids included.

        SnapshotError when `data` is not a whole snapshot of this version made with the same parameters.
        """
        state = decode(data, parameters)
        tracker = cls(parameters, epoch=state.epoch)
        tracker._next_id = state.next_id
        tracker._frame = state.frame
        tracker._motion.assume_step(state.step_s)
        tracker._clock.take_up(state.clock)
        tracker._tracks.take_up(state.block, confirmed=state.confirmed)
        return tracker

    def _seen(self, detections: Detections) -> _Seen:
        size_px = detections.source_width_px, detections.source_height_px
        if self._rim.size_px != size_px:
            self._rim = Rim(width_px=size_px[0], height_px=size_px[1])
        score, label, low_score = detections.score, detections.label, self._parameters.low_score
        xyxy = detections.xyxy.T.astype(np.float64, order="C")  # rows side by side: what follows reads row by row
        is_box, is_used = xyxy[2:] > xyxy[:2], score >= low_score
        # A sum of squares of single-precision numbers does not overflow: it is finite if each of them is.
        flat, count = xyxy.reshape(-1), score.size
        if isfinite(flat.dot(flat)) and np.count_nonzero(is_box) == 2 * count == 2 * np.count_nonzero(is_used):
            return _Seen(None, centred(xyxy), self._rim.sides(xyxy), label, score)
        place = (np.isfinite(xyxy).all(axis=0) & is_box.all(axis=0) & is_used).nonzero()[0]
        xyxy = xyxy.take(place, axis=1)
        return _Seen(place, centred(xyxy), self._rim.sides(xyxy), label.take(place), score.take(place))

    def _associate(self, seen: _Seen) -> Indices:
        """Matched rows of the table, and with them indices into `seen`, `(2, k)`."""
        tracks, knobs, count = self._tracks, self._parameters, len(self._tracks)
        boxes = np.concatenate((tracks.belief[:4], seen.boxes), axis=1)
        edges = overlaps(boxes, split=count, min_iou=knobs.min_iou)
        row, col, iou = edges.ends[0], edges.ends[1] - count, edges.weight
        is_possible = iou >= knobs.min_iou
        if knobs.is_class_aware:
            is_possible &= tracks.label.take(row) == seen.label.take(col)
        is_high = (seen.score >= knobs.high_score).take(col)
        first = int(row.searchsorted(tracks.confirmed))  # edge of a track not confirmed
        if first < row.size:
            is_possible[first:] &= is_high[first:]
        # The first association outweighs the others, so that it comes out as if solved before them. Those share neither
        # tracks nor detections.
        np.multiply(iou[:first], _BEFORE, out=iou[:first], where=is_high[:first])
        matched = best_matching(edges.take(is_possible.nonzero()[0]), nodes=boxes.shape[1])
        matched[1] -= count
        return matched

    def _continue(self, rows: Indices, *, boxes: Array, sides: Array | None) -> Array:
        """Move the tracks `rows` to where they were seen; their ids, -1 for the unconfirmed."""
        tracks = self._tracks
        self._motion.correct(tracks.belief, rows=rows, boxes=boxes, sides=sides)
        tracks.seen[rows] = self._frame
        tracks.seen_s[rows] = self._clock.now_s
        if tracks.confirmed == len(tracks):
            return tracks.track_id.take(rows)
        self._confirm()
        track_id = tracks.track_id.take(rows)
        tracks.forget_missed(frame=self._frame)
        return track_id

    def _begin(self, belief: Belief, *, label: NDArray[np.int32]) -> Array:
        """Begin tracks; their ids, -1 unless one sight is enough."""
        tracks = self._tracks
        tracks.begin(belief, label=label, frame=self._frame, now_s=self._clock.now_s)
        if self._parameters.min_hits == 1:
            self._confirm()
            tracks.forget_missed(frame=self._frame)
        return tracks.track_id[-label.size :]

    def _confirm(self) -> None:
        begun_by = self._frame + 1 - self._parameters.min_hits
        self._next_id = self._tracks.confirm(begun_by=begun_by, frame=self._frame, next_id=self._next_id)


def _taken(sides: Array | None, index: Indices) -> Array | None:
    return None if sides is None else sides.take(index, axis=1)
