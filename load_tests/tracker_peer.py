"""The other side of `load_tests.tracker`, run by the Python of its own environment: `trackers` and TrackEval.

One JSON command per line on standard input, one JSON answer per line on standard output. Arrays travel in .npz files:
`counts (frames,)` rows per frame, and per row `xyxy`, `score`, `label` (detections) or `xyxy`, `id` (truth, results).
"""

import contextlib
import gc
import json
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import supervision as sv
import trackeval
from trackers import ByteTrackTracker

Array: TypeAlias = np.ndarray
Settings: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]


def frames_of(arrays: Mapping[str, Array], *names: str) -> list[tuple[Array, ...]]:
    """Per frame a tuple of the named columns."""
    stops = np.cumsum(arrays["counts"])[:-1]
    return list(zip(*(np.split(arrays[name], stops) for name in names), strict=True))


def as_supervision(columns: tuple[Array, ...]) -> sv.Detections:
    """One frame's columns as the package wants them."""
    xyxy, score, label = columns
    return sv.Detections(xyxy=xyxy, confidence=score, class_id=label.astype(int))


class Peer:
    """ByteTrack of the `trackers` package, loaded with one sequence."""

    def load(self, *, path: str, settings: Settings) -> Answer:
        """Take a sequence; `settings` are keyword arguments of ByteTrackTracker."""
        arrays = np.load(path)
        self.frames = [as_supervision(columns) for columns in frames_of(arrays, "xyxy", "score", "label")]
        self.times_s = arrays["times_s"].tolist()
        self.settings = settings
        self.tracker = ByteTrackTracker(**settings)
        self.position = 0
        return {"frames": len(self.frames)}

    def track(self, *, path: str, out: str, settings: Settings, has_timestamps: bool) -> Answer:
        """Track a whole sequence and write what has an id."""
        self.load(path=path, settings=settings)
        results = []
        for frame, time_s in zip(self.frames, self.times_s, strict=True):
            found = self.tracker.update(frame, timestamp=time_s if has_timestamps else None)
            results.append(found[found.tracker_id >= 0])
        np.savez(
            out,
            counts=np.array([len(found) for found in results]),
            xyxy=np.concatenate([found.xyxy for found in results]),
            id=np.concatenate([found.tracker_id for found in results]),
        )
        return {"rows": sum(map(len, results))}

    def turn(self, *, updates: int, has_timestamps: bool) -> Answer:
        """CPU seconds of the next `updates` frames, after which the sequence goes on; a new tracker at its start."""
        if self.position + updates > len(self.frames):
            self.position = 0
            self.tracker = ByteTrackTracker(**self.settings)
        part = slice(self.position, self.position + updates)
        work = list(zip(self.frames[part], self.times_s[part] if has_timestamps else [None] * updates, strict=True))
        self.position += updates
        update = self.tracker.update
        start_s = time.process_time()
        for frame, time_s in work:
            update(frame, timestamp=time_s)
        return {"seconds": time.process_time() - start_s}


def pairwise_iou(xyxy: Array, others: Array) -> Array:
    """IoU matrix (n, m) of two sets of boxes."""
    low = np.maximum(xyxy[:, None, :2], others[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (xyxy, others))
    return shared / np.maximum(area[:, None] + other_area[None] - shared, 1e-9)


def evaluate(*, truth: str, result: str) -> Answer:
    """HOTA, MOTA and IDF1 of a result file against a truth file, by TrackEval."""
    true, found = np.load(truth), np.load(result)
    true_ids, true_index = np.unique(true["id"], return_inverse=True)
    found_ids, found_index = np.unique(found["id"], return_inverse=True)
    true_frames = frames_of({"counts": true["counts"], "xyxy": true["xyxy"], "id": true_index}, "xyxy", "id")
    found_frames = frames_of({"counts": found["counts"], "xyxy": found["xyxy"], "id": found_index}, "xyxy", "id")
    data = {
        "num_timesteps": len(true_frames),
        "num_gt_ids": len(true_ids),
        "num_tracker_ids": len(found_ids),
        "num_gt_dets": len(true_index),
        "num_tracker_dets": len(found_index),
        "gt_ids": [ids for _, ids in true_frames],
        "tracker_ids": [ids for _, ids in found_frames],
        "similarity_scores": [
            pairwise_iou(a.astype(float), b.astype(float))
            for (a, _), (b, _) in zip(true_frames, found_frames, strict=True)
        ],
    }
    quiet = {"PRINT_CONFIG": False}
    clear = trackeval.metrics.CLEAR(quiet).eval_sequence(data)
    identity = trackeval.metrics.Identity(quiet).eval_sequence(data)
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    return {
        "hota": float(np.mean(hota["HOTA"])),
        "deta": float(np.mean(hota["DetA"])),
        "assa": float(np.mean(hota["AssA"])),
        "mota": float(clear["MOTA"]),
        "idf1": float(identity["IDF1"]),
        "id_switches": int(clear["IDSW"]),
        "false_positives": int(clear["CLR_FP"]),
        "misses": int(clear["CLR_FN"]),
        "tracks": len(found_ids),
    }


def main() -> None:
    """Answer commands until standard input ends."""
    answers = sys.stdout
    gc.freeze()  # as a service does once it is up; the other side does it too
    peer = Peer()
    commands = {"load": peer.load, "track": peer.track, "turn": peer.turn, "evaluate": evaluate}
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            request = json.loads(line)
            answer = commands[request.pop("command")](**request)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
