"""Scenario `time-true`: counts at lines and identities do not follow the frame rate, nor frames that are lost.

Farm streets go as video files through the real path, with the bundled model, once, at 30 fps. Every lower rate is a
part of the same frames with their own time stamps, and gets a tracker and a counter of its own; so the model runs once
per frame, and the rates differ in nothing else. Truth is the farm's: who crosses, which way, when, whose box is where.

`crossing_error` is the worst difference from the true count of any line, direction, rate and street. The lines lie
across the road, from kerb to kerb, where both are in the picture. `details.far` has the same for lines that reach over
the far pavement, where who crosses behind a truck is seen by nobody. IDF1 is compared with that at 30 fps.
"""

import asyncio
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import tan
from pathlib import Path
from typing import Any

import numpy as np

from app.analytics.counting import StreamCounter
from app.analytics.events import Direction, LineCrossed
from app.analytics.geometry import Segment
from app.analytics.lines import Line
from app.core.frame import Detections, Tracks
from app.core.ports import Engine
from app.core.video import VideoSpec
from app.media.video import VideoReader
from app.pipeline.detector import Detector
from app.pipeline.file_run import FileRun
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.tracker import Tracker
from app.settings import Settings
from app.tracking.bytetrack import ByteTracker
from app.tracking.parameters import TrackerParameters
from engines.opening import open_engine
from load_tests import camfarm
from load_tests.camfarm import Camera, FrameTruth, Scene, render, truth_only
from load_tests.camfarm.actor import LABEL_NAMES
from load_tests.camfarm.video import write_mp4
from load_tests.evidence import publish
from load_tests.identity import Named, idf1

CLIPS = Path(__file__).parent.parent / "build" / "time-true"
CAMERA = Camera(width_px=960, height_px=540, fps=30.0)
SEEDS = (2111, 2112, 2113, 2114, 2115, 2116)
N_FRAMES = 1200
EDGE_S = 1.0  # who crosses as the clip begins or ends is not seen on both sides of the line
MIN_VISIBILITY = 0.1  # as in scenario `tracker`
MAX_CROSSING_ERROR, MAX_IDF1_DELTA = 1, 0.05
NEAR_KERB_M, FAR_KERB_M, FAR_PAVEMENT_M = 11.2, 18.1, 22.6
"""Away from the camera. Between the kerbs lie the near cycle lane and both lanes of cars."""
ASIDE_M = (-4.0, 0.0, 4.0)
LOWEST_SHARE = 0.97
"""Of the picture's height: the lowest place where a line may begin."""

Counts = dict[tuple[str, Direction], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of 30 a second are seen: every `step`-th, and of those a share `dropped` is lost by chance."""

    name: str
    step: int = 1
    dropped: float = 0.0

    def frames(self, count: int, *, seed: int) -> list[int]:
        """Their numbers among `count` frames."""
        chance = random.Random(seed)
        return [number for number in range(0, count, self.step) if chance.random() >= self.dropped]


SAMPLINGS = (
    Sampling(name="30 fps"),
    Sampling(name="15 fps", step=2),
    Sampling(name="10 fps", step=3),
    Sampling(name="7.5 fps", step=4),
    Sampling(name="30 fps, 20 % dropped", dropped=0.2),
)


def lines_across(scene: Scene, *, until_m: float = FAR_KERB_M) -> list[Line]:
    """Lines straight across the road, from the near kerb to `until_m` away, in shares of the picture.

    A line is left out where the near kerb lies at or below the picture's lower rim: walkers nearer than the kerb, and
    lorries beyond it, would have boxes that end on the rim, and nobody can say on which side of the line's end.
    """
    lens = scene.lens(CAMERA)
    middle_m = (NEAR_KERB_M + FAR_KERB_M) / 2 * tan(scene.view.yaw_rad)
    lines = []
    for x_m in ASIDE_M:
        ends_m = np.array([[middle_m + x_m, NEAR_KERB_M, 0.0], [middle_m + x_m, until_m, 0.0]])
        near, far = (lens.project(ends_m)[0] / (lens.width_px, lens.height_px)).tolist()
        if near[1] <= LOWEST_SHARE:
            lines.append(Line(name=f"{x_m:+.0f} m", segment=Segment(start=tuple(near), end=tuple(far))))
    return lines


def true_counts(scene: Scene, lines: Sequence[Line], *, begin_s: float, end_s: float) -> Counts:
    """Who crossed between these times, as the farm knows it."""
    found: Counts = {}
    for line in lines:
        (x1, y1), (x2, y2) = line.segment.start, line.segment.end
        segment = camfarm.Line(x1=x1, y1=y1, x2=x2, y2=y2)
        truth = camfarm.crossings(scene, CAMERA, segment, begin_s=begin_s, end_s=end_s)
        for direction, sign in ((Direction.FORWARD, 1), (Direction.BACKWARD, -1)):
            found[line.name, direction] = sum(crossing.direction == sign for crossing in truth)
    return found


def tracked(detections: Sequence[Detections]) -> list[Tracks]:
    """What a new tracker with its defaults makes of them."""
    tracker = ByteTracker(TrackerParameters(), epoch=0)
    return [tracker.update(found) for found in detections]


def counted(tracks: Sequence[Tracks], lines: Sequence[Line], *, begin_s: float, end_s: float) -> Counts:
    """Who crossed between these times, as a new counter sees it."""
    counter = StreamCounter(lines, [])
    events = [event for frame in tracks for event in counter.update(frame, LABEL_NAMES)]
    crossed = [event for event in events if isinstance(event, LineCrossed)]
    within = [event for event in crossed if begin_s <= event.at_s <= end_s]
    return {
        (line.name, direction): sum((event.line, event.direction) == (line.name, direction) for event in within)
        for line, direction in product(lines, Direction)
    }


def errors(found: Counts, true: Counts) -> dict[str, int]:
    """By how many each count is off, above 0 for too many; counts that are right are left out."""
    return {
        f"{name} {direction}": found[name, direction] - expected
        for (name, direction), expected in true.items()
        if found[name, direction] != expected
    }


def named_truth(truth: FrameTruth) -> Named:
    """The boxes that can be seen, and whose they are."""
    is_seen = truth.visibility >= MIN_VISIBILITY
    return truth.xyxy[is_seen], truth.identity[is_seen]


def named_tracks(tracks: Tracks) -> Named:
    """The boxes that have an id."""
    is_known = tracks.track_id >= 0
    return tracks.detections.xyxy[is_known], tracks.track_id[is_known]


def clip(seed: int) -> Path:
    """A street as a video file, drawn once."""
    target = CLIPS / f"{seed}-{CAMERA.width_px}x{CAMERA.height_px}-{N_FRAMES}.mp4"
    if not target.exists():
        print(f"time-true: drawing {target.name}", file=sys.stderr)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part.mp4")
        write_mp4(part, render(Scene(seed=seed), CAMERA, frames=N_FRAMES), CAMERA.fps)
        part.rename(target)
    return target


def through_the_path(video: Path, engine: Engine, *, batch: int) -> list[Tracks]:
    """Every frame's tracks, through the stages that `sightline track` runs, with batches of `batch` frames."""
    settings = Settings()
    path = FileRun(
        preprocessor=Preprocessor(engine.spec, steps=settings.steps),
        detector=Detector(engine, parameters=replace(settings.model.serving, max_batch=batch)),
        tracker=Tracker(settings.tracker),
        max_frames=batch,
        window=settings.video_batches,
    )
    reader = VideoReader(
        video,
        stream_id="street",
        spec=VideoSpec(),
        model_width_px=engine.spec.input_width_px,
        model_height_px=engine.spec.input_height_px,
    )

    async def run() -> list[Tracks]:
        return [found async for found, _ in path.tracks(reader, stream_id="street") if isinstance(found, Tracks)]

    found = asyncio.run(run())
    if len(found) != N_FRAMES:
        message = f"{len(found)} of {N_FRAMES} frames were answered"
        raise RuntimeError(message)
    return found


class Watched:
    """An engine, and how large the batches were that it was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.spec = engine.spec
        self.streams = engine.streams
        self.sizes: list[int] = []

    def infer(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """What the engine says."""
        self.sizes.append(len(pixels))
        return self._engine.infer(pixels)

    def close(self) -> None:
        """Nothing: the engine is the caller's."""


def compare_batches(video: Path, model: Path | None) -> dict[str, float]:
    """The same video in batches of 1 and of 8, on an engine that is fed whole batches as a GPU is.

    The engines for CPUs compute a batch picture by picture, so this compares the stages, not a network's rounding.
    """
    engine = open_engine(model, streams=1, max_batch=8)
    runs, sizes = [], []
    for batch in (1, 8):
        watched = Watched(engine)
        runs.append(through_the_path(video, watched, batch=batch))
        sizes.append(max(watched.sizes))
    engine.close()
    if sizes != [1, 8]:
        message = f"the batches held up to {sizes} pictures"
        raise RuntimeError(message)
    return {"frames": N_FRAMES, "mean_batch": N_FRAMES / len(watched.sizes), **differences(*runs)}


def differences(single: Sequence[Tracks], batched: Sequence[Tracks]) -> dict[str, float]:
    """In how many frames the ids differ, and by how much boxes do where they do not."""
    pairs = list(zip(single, batched, strict=True))
    alike = [(one, other) for one, other in pairs if np.array_equal(one.track_id, other.track_id)]
    apart_px = [np.abs(one.detections.xyxy - other.detections.xyxy).max(initial=0.0) for one, other in alike]
    return {
        "frames_with_other_ids": len(pairs) - len(alike),
        "largest_difference_of_boxes_px": float(max(apart_px, default=0.0)),
    }


def measure(seed: int, found: Sequence[Detections]) -> dict[str, dict[str, Any]]:
    """One street at every rate: what was counted, by how much that is wrong, IDF1."""
    scene = Scene(seed=seed)
    span = {"begin_s": EDGE_S, "end_s": N_FRAMES / CAMERA.fps - EDGE_S}
    groups = {"road": lines_across(scene), "far": lines_across(scene, until_m=FAR_PAVEMENT_M)}
    true = {group: true_counts(scene, lines, **span) for group, lines in groups.items()}
    truth = [named_truth(frame) for frame in truth_only(scene, CAMERA, frames=N_FRAMES)]
    rows = {}
    for sampling in SAMPLINGS:
        chosen = sampling.frames(N_FRAMES, seed=seed)
        tracks = tracked([found[number] for number in chosen])
        rows[sampling.name] = {"idf1": idf1([truth[number] for number in chosen], [named_tracks(t) for t in tracks])}
        for group, lines in groups.items():
            counts = counted(tracks, lines, **span)
            rows[sampling.name][group] = {
                "counts": [counts[key] for key in true[group]],
                "true": list(true[group].values()),
                "errors": errors(counts, true[group]),
            }
    return rows


def worst(rows: Sequence[dict[str, Any]], group: str) -> int:
    """The largest error of a count in this group of lines."""
    return max((abs(error) for row in rows for error in row[group]["errors"].values()), default=0)


def summary(streets: Mapping[int, dict[str, dict[str, Any]]], group: str) -> dict[str, dict[str, Any]]:
    """How the counts of one group of lines stand at each rate, over all streets."""
    table = {}
    for sampling in SAMPLINGS:
        rows = [street[sampling.name] for street in streets.values()]
        off = [abs(error) for row in rows for error in row[group]["errors"].values()]
        table[sampling.name] = {
            "counts": sum(len(row[group]["true"]) for row in rows),
            "counts_off_by_one": off.count(1),
            "counts_off_by_more": sum(error > 1 for error in off),
            "worst": max(off, default=0),
            "crossings": sum(sum(row[group]["counts"]) for row in rows),
            "true_crossings": sum(sum(row[group]["true"]) for row in rows),
        }
    return table


def spread(streets: Mapping[int, dict[str, dict[str, Any]]], value: Callable[[dict[str, Any]], np.ndarray]) -> float:
    """The largest difference between a street at any rate and the same street at 30 fps."""
    first = SAMPLINGS[0].name
    gaps = [np.abs(value(row) - value(street[first])).max() for street in streets.values() for row in street.values()]
    return float(max(gaps))


def main() -> int:
    """Run the scenario; 1 if a figure misses its mark."""
    model = Settings().model.file
    videos = {seed: clip(seed) for seed in SEEDS}
    engine = open_engine(model)
    streets = {}
    for seed, video in videos.items():
        path = through_the_path(video, engine, batch=8)
        streets[seed] = measure(seed, [frame.detections for frame in path])
        for name, row in streets[seed].items():
            print(f"time-true: {seed}, {name}: IDF1 {row['idf1']:.3f}, off by {row['road']['errors']}", file=sys.stderr)
    engine.close()
    batches = compare_batches(videos[SEEDS[0]], model)
    rows = [row for street in streets.values() for row in street.values()]
    figures = {
        "crossing_error": float(worst(rows, "road")),
        "crossing_spread": spread(streets, lambda row: np.array(row["road"]["counts"])),
        "idf1_spread": spread(streets, lambda row: np.array(row["idf1"])),
        "batch_mismatches": float(batches["frames_with_other_ids"]),
    }
    publish(
        "time-true",
        figures,
        mean_idf1={s.name: statistics.mean(street[s.name]["idf1"] for street in streets.values()) for s in SAMPLINGS},
        road=summary(streets, "road"),
        far=summary(streets, "far"),
        batches=batches,
        streets=streets,
    )
    is_met = figures["crossing_error"] <= MAX_CROSSING_ERROR and figures["idf1_spread"] <= MAX_IDF1_DELTA
    return int(not is_met or figures["batch_mismatches"] > 0)


if __name__ == "__main__":
    sys.exit(main())
