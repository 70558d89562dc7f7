"""Small moving scenes for the tracker, and a checker of identities."""

from collections.abc import Callable, Sequence

import numpy as np

from app.core.frame import Detections, Tracks
from app.tracking.bytetrack import ByteTracker
from app.tracking.parameters import TrackerParameters
from tests.builders import make_detections, make_ref

Place = Callable[[float], list[list[float]]]


def make_tracker(*, epoch: int = 0, **knobs: float | bool) -> ByteTracker:
    return ByteTracker(TrackerParameters(**knobs), epoch=epoch)


def box(x: float, y: float = 200.0, *, width: float = 40.0, height: float = 100.0) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def at(time_s: float | None, boxes: list[list[float]], *, stream_id: str = "s", **columns: list) -> Detections:
    return make_detections(boxes, ref=make_ref(stream_id=stream_id, pts_s=time_s), **columns)


def film(place: Place, times_s: Sequence[float], **columns: list) -> list[Detections]:
    return [at(time_s, place(time_s), **columns) for time_s in times_s]


def still(boxes: list[list[float]], times_s: Sequence[float], **columns: list) -> list[Detections]:
    return [at(time_s, boxes, **columns) for time_s in times_s]


def ids(tracks: Tracks) -> list[int]:
    return tracks.track_id.tolist()


def run(tracker: ByteTracker, frames: Sequence[Detections]) -> list[list[int]]:
    return [ids(tracker.update(frame)) for frame in frames]


def steps(count: int, *, fps: float, begin_s: float = 0.0) -> list[float]:
    return [begin_s + number / fps for number in range(count)]


def identity_faults(seen: Sequence[tuple[Sequence[int], Sequence[int]]]) -> int:
    """How often, over frames of (true identities, track ids), an object changes its id or an id its object."""
    id_of: dict[int, int] = {}
    object_of: dict[int, int] = {}
    faults = 0
    for objects, track_ids in seen:
        for thing, track_id in zip(objects, track_ids, strict=True):
            if track_id >= 0:
                faults += id_of.setdefault(thing, track_id) != track_id
                faults += object_of.setdefault(track_id, thing) != thing
    return faults


def walkers(seed: int, *, count: int) -> Callable[[float], np.ndarray]:
    """Boxes `(count, 4)` at a time, of things that go straight on in lanes of their own."""
    rng = np.random.default_rng(seed)
    x, speed = rng.uniform(0, 1000, count), rng.uniform(-60, 60, count)
    y = 60.0 + 130.0 * np.arange(count)
    half = np.stack([rng.uniform(15, 30, count), rng.uniform(40, 60, count)], axis=1)

    def boxes(time_s: float) -> np.ndarray:
        middle = np.stack([x + speed * time_s, y], axis=1)
        return np.concatenate([middle - half, middle + half], axis=1)

    return boxes
