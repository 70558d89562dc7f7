"""Scripted motion for the counters, sampled as a camera would, and what the counters made of it."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.analytics.counting import StreamCounter
from app.analytics.events import Event, LineCrossed
from app.analytics.geometry import Point, Polygon, Segment
from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.frame import Tracks
from tests.builders import make_detections, make_ref

SIZE_PX = 1000
HEIGHT_PX = 100.0
LABELS = ("person", "car")

Knots = Sequence[tuple[float, float, float]]
"""`(time_s, x, y)` of the anchor in pixels, straight in between; absent before the first and after the last."""


def make_line(name: str = "gate", *, start: Point = (0.5, 1.0), end: Point = (0.5, 0.0), band: float = 0.1) -> Line:
    """By default up the middle of the picture: its right is the picture's right."""
    return Line(name=name, segment=Segment(start=start, end=end), band=band)


def make_zone(name: str = "yard", *, settle_s: float = 0.5, dwell_s: float | None = None) -> Zone:
    """The rectangle from 600 to 900 px across and 200 to 800 px down."""
    corners = ((0.6, 0.2), (0.9, 0.2), (0.9, 0.8), (0.6, 0.8))
    return Zone(name=name, polygon=Polygon(corners=corners), settle_s=settle_s, dwell_s=dwell_s)


def make_tracks(
    at_s: float | None,
    anchors: Mapping[int, Point],
    *,
    epoch: int = 0,
    seq: int = 0,
    labels: Mapping[int, int] | None = None,
    size_px: int = SIZE_PX,
    stream_id: str = "s",
) -> Tracks:
    """Tracks whose boxes, 40 by 100 px, stand on `anchors`, by track id."""
    boxes = [[x - 20, y - HEIGHT_PX, x + 20, y] for x, y in anchors.values()]
    found = make_detections(
        boxes,
        label=[(labels or {}).get(track_id, 0) for track_id in anchors],
        ref=make_ref(stream_id=stream_id, epoch=epoch, seq=seq, pts_s=at_s),
        source=(size_px, size_px),
    )
    return Tracks(detections=found, track_id=np.array(list(anchors), dtype=np.int64))


def place(knots: Knots, at_s: float) -> Point | None:
    times, xs, ys = zip(*knots, strict=True)
    if not times[0] <= at_s <= times[-1]:
        return None
    return float(np.interp(at_s, times, xs)), float(np.interp(at_s, times, ys))


def film(script: Mapping[int, Knots], times_s: Sequence[float]) -> list[Tracks]:
    frames = []
    for seq, at_s in enumerate(times_s):
        seen = {track_id: place(knots, at_s) for track_id, knots in script.items()}
        frames.append(make_tracks(at_s, {track_id: point for track_id, point in seen.items() if point}, seq=seq))
    return frames


def times(*, fps: float, until_s: float, dropped: float = 0.0, seed: int = 0) -> list[float]:
    """When frames come: `fps` a second, a share of them dropped by chance."""
    chance = random.Random(seed)
    return [number / fps for number in range(int(until_s * fps) + 1) if chance.random() >= dropped]


def run(counter: StreamCounter, frames: Sequence[Tracks]) -> list[Event]:
    return [event for frame in frames for event in counter.update(frame, LABELS)]


def told(events: Sequence[Event]) -> Counter[tuple[str, int, str]]:
    """How often which kind of event came for which track, which way."""
    return Counter(
        (type(event).__name__, event.track_id, event.direction if isinstance(event, LineCrossed) else "")
        for event in events
    )


def on(knots: Knots, *, fps: float = 30.0, line: Line | None = None, zone: Zone | None = None) -> list[Event]:
    """The events of one track on one line or zone."""
    counter = StreamCounter([line] if line else [], [zone] if zone else [])
    return run(counter, film({1: knots}, times(fps=fps, until_s=knots[-1][0] + 5)))


def wander(seed: int, *, count: int, step_s: Callable[[random.Random], float]) -> Knots:
    """A random walk between random places."""
    chance, at_s, knots = random.Random(seed), 0.0, []
    for _ in range(count):
        knots.append((at_s, chance.uniform(350, 950), chance.uniform(50, 950)))
        at_s += step_s(chance)
    return knots
