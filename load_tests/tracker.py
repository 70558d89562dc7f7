"""Scenario `tracker`: our ByteTrack and that of the `trackers` package on the same degraded detections, side by side.

The package and TrackEval live in an environment of their own under `build/`, and run in a process of their own
(`tracker_peer.py`). Accuracy: HOTA, IDF1 and MOTA by TrackEval on farm streets whose seeds were not used to choose our
defaults; the figure is the worst sequence's difference to the better of the package's two modes, with time stamps and
without. Speed: CPU time of alternating turns at about 100 detected objects, several streets side by side in one wide
picture. `tracker_ratio` is that of streets of the farm's usual density, the package being given the time stamps that
ours is given; `details.speed` has the ratios without stamps and in a dense crowd too.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from app.core.frame import Detections, FrameRef
from app.tracking.bytetrack import ByteTracker
from app.tracking.parameters import TrackerParameters
from load_tests.camfarm import Camera, Faults, Scene, degraded, truth_only
from load_tests.evidence import alternate, publish

ENVIRONMENT = Path(__file__).parent.parent / "build" / "tracker-peer"
PINS = ("trackers==2.6.1", "trackeval==1.3.0", "supervision==0.31.2", "numpy==2.4.6", "scipy==1.17.1")
WIDTH_PX, HEIGHT_PX = 1280, 720
MIN_VISIBILITY = 0.1  # an object counts as truth while this much of it is seen
METRICS = ("hota", "idf1", "mota")
MIN_RATIO = 20.0
TURN_UPDATES, ROUNDS = 240, 9

Frames = list[tuple[np.ndarray, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """One sequence: a farm scene, how it is sampled and how badly it is detected."""

    name: str
    seed: int
    density: float
    fps: float
    seconds: float
    faults: Faults = field(default_factory=Faults)

    def frames(self) -> tuple[list[float], Frames, Frames]:
        """Times in whole milliseconds, as cameras stamp; truth as (xyxy, id); detections as (xyxy, score, label)."""
        camera = Camera(width_px=WIDTH_PX, height_px=HEIGHT_PX, fps=self.fps)
        times_s, truths, found = [], [], []
        for truth in truth_only(
            Scene(seed=self.seed, density=self.density), camera, frames=round(self.seconds * self.fps)
        ):
            noisy = degraded(truth, 1, width_px=WIDTH_PX, height_px=HEIGHT_PX, faults=self.faults)
            is_seen = truth.visibility >= MIN_VISIBILITY
            times_s.append(round(truth.captured_at_s, 3))
            truths.append((truth.xyxy[is_seen], truth.identity[is_seen]))
            found.append((noisy.xyxy, noisy.score, noisy.label))
        return times_s, truths, found


POOR = Faults(jitter=0.03, miss_rate=0.06, false_positives=0.5)
BAD = Faults(jitter=0.03, miss_rate=0.08, false_positives=1.0)
STREETS = (
    Street(name="quiet, 30 fps", seed=203, density=11, fps=30, seconds=20),
    Street(name="street, 15 fps", seed=205, density=30, fps=15, seconds=24),
    Street(name="street, 10 fps, poor", seed=211, density=30, fps=10, seconds=30, faults=POOR),
    Street(name="crowd, 25 fps, bad", seed=207, density=60, fps=25, seconds=14, faults=BAD),
    Street(name="crowd, 10 fps", seed=213, density=60, fps=10, seconds=20),
    Street(name="packed, 30 fps, bad", seed=217, density=100, fps=30, seconds=8, faults=BAD),
)


class Peer:
    """The process of the other side."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("tracker_peer.py")
        command = [str(ENVIRONMENT / "bin" / "python"), str(script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Send a command, wait for its answer."""
        assert self._process.stdin, self._process.stdout  # noqa: S101 - both are pipes
        print(json.dumps({"command": command, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            message = f"the peer ended with {self._process.wait()}"
            raise RuntimeError(message)
        return dict(json.loads(line))

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()


def make_environment() -> None:
    """Install the other side, once."""
    if (ENVIRONMENT / "bin" / "python").exists():
        return
    print(f"tracker: making {ENVIRONMENT}, about 700 MB", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    subprocess.run([str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", *PINS], check=True, stdout=sys.stderr)


def write(path: Path, frames: Iterable[tuple[np.ndarray, ...]], *, names: tuple[str, ...], **more: object) -> str:
    """Frames as one .npz file with a row count per frame; its path."""
    frames = list(frames)
    columns = {name: np.concatenate([frame[place] for frame in frames]) for place, name in enumerate(names)}
    np.savez(path, counts=[len(frame[0]) for frame in frames], **columns, **more)  # type: ignore[arg-type]
    return str(path)


def as_detections(times_s: list[float], found: Frames) -> list[Detections]:
    """The same detections as our types."""
    return [
        Detections(
            xyxy=xyxy.copy(),
            score=score.copy(),
            label=label.copy(),
            source_width_px=WIDTH_PX,
            source_height_px=HEIGHT_PX,
            ref=FrameRef(stream_id="street", seq=seq, pts_s=time_s),
        )
        for seq, (time_s, (xyxy, score, label)) in enumerate(zip(times_s, found, strict=True))
    ]


def tracked(detections: list[Detections]) -> Frames:
    """What our tracker with its defaults makes of a sequence: (xyxy, id) of the rows with an id."""
    tracker = ByteTracker(TrackerParameters(), epoch=0)
    results = [tracker.update(frame) for frame in detections]
    return [(r.detections.xyxy[r.track_id >= 0], r.track_id[r.track_id >= 0]) for r in results]


def compare(street: Street, peer: Peer, *, folder: Path) -> dict[str, dict[str, float]]:
    """Scores of our tracker and of three settings of the package's on one street."""
    times_s, truths, found = street.frames()
    truth = write(folder / "truth.npz", truths, names=("xyxy", "id"))
    detections = write(folder / "detections.npz", found, names=("xyxy", "score", "label"), times_s=times_s)
    ours = write(folder / "ours.npz", tracked(as_detections(times_s, found)), names=("xyxy", "id"))
    scores = {"ours": peer.ask("evaluate", truth=truth, result=ours)}
    knobs = TrackerParameters()
    matched = {
        "lost_track_buffer": round(knobs.max_lost_s * 30),
        "track_activation_threshold": knobs.min_new_score,
        "high_conf_det_threshold": knobs.high_score,
        "minimum_iou_threshold": knobs.min_iou,
    }
    for name, settings, has_timestamps in (
        ("peer", {}, False),
        ("peer, stamped", {}, True),
        ("peer, our thresholds", matched, True),
    ):
        out = str(folder / "peer.npz")
        rate = {"frame_rate": street.fps}
        peer.ask("track", path=detections, out=out, settings=rate | settings, has_timestamps=has_timestamps)
        scores[name] = peer.ask("evaluate", truth=truth, result=out)
    return scores


def side_by_side(streets: list[Street]) -> tuple[list[float], Frames, int]:
    """One wide picture of several streets: times, detections, and the mean number of objects in it."""
    parts = [street.frames() for street in streets]
    frames: Frames = []
    for number in range(len(parts[0][0])):
        shifts = [np.array([index * WIDTH_PX, 0, index * WIDTH_PX, 0], np.float32) for index in range(len(parts))]
        xyxy = np.concatenate([found[number][0] + shift for (_, _, found), shift in zip(parts, shifts, strict=True)])
        score, label = (np.concatenate([found[number][place] for _, _, found in parts]) for place in (1, 2))
        order = np.argsort(-score, kind="stable")
        frames.append((xyxy[order], score[order], label[order]))
    objects = np.mean([sum(len(truths[number][0]) for _, truths, _ in parts) for number in range(len(frames))])
    return parts[0][0], frames, round(float(objects))


class Turns:
    """Our tracker on an endless repetition of one sequence."""

    def __init__(self, detections: list[Detections]) -> None:
        self._detections = detections
        self._position = len(detections)

    def turn(self) -> float:
        """CPU seconds of the next updates."""
        if self._position + TURN_UPDATES > len(self._detections):
            self._position = 0
            self._tracker = ByteTracker(TrackerParameters(), epoch=0)
        work = self._detections[self._position : self._position + TURN_UPDATES]
        self._position += TURN_UPDATES
        update = self._tracker.update
        start_s = time.process_time()
        for frame in work:
            update(frame)
        return time.process_time() - start_s


def race(streets: list[Street], peer: Peer, *, folder: Path) -> dict[str, float]:
    """How many times the package's CPU time is ours, with time stamps and without, and both in seconds per update."""
    times_s, frames, objects = side_by_side(streets)
    path = write(folder / "race.npz", frames, names=("xyxy", "score", "label"), times_s=times_s)
    detections = as_detections(times_s, frames)
    gc.collect()
    gc.freeze()
    figures: dict[str, float] = {"objects": objects, "detections": float(np.mean([len(f[0]) for f in frames]))}
    for name, has_timestamps in (("stamped", True), ("unstamped", False)):
        peer.ask("load", path=path, settings={"frame_rate": streets[0].fps})
        ours = Turns(detections)
        share, mine, other = alternate(
            ours.turn,
            lambda stamped=has_timestamps: peer.ask("turn", updates=TURN_UPDATES, has_timestamps=stamped)["seconds"],
            rounds=ROUNDS,
        )
        figures[f"{name}_ratio"] = 1 / share
        figures[f"{name}_ours_s"] = float(np.median(mine)) / TURN_UPDATES
        figures[f"{name}_peer_s"] = float(np.median(other)) / TURN_UPDATES
        print(f"tracker: {objects} objects, {name}: {1 / share:.1f} times as fast", file=sys.stderr)
    return figures


def main() -> int:
    """Run the scenario; 1 if a figure misses its mark."""
    make_environment()
    peer = Peer()
    scores: dict[str, dict[str, dict[str, float]]] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        usual = [Street(name="usual", seed=300 + i, density=11, fps=30, seconds=8) for i in range(12)]
        packed = [Street(name="packed", seed=320 + i, density=100, fps=30, seconds=8, faults=BAD) for i in range(2)]
        races = {"usual streets": race(usual, peer, folder=folder), "packed streets": race(packed, peer, folder=folder)}
        for street in STREETS:
            scores[street.name] = compare(street, peer, folder=folder)
            ours, theirs = scores[street.name]["ours"], scores[street.name]["peer"]
            row = "  ".join(f"{metric} {ours[metric]:.3f} / {theirs[metric]:.3f}" for metric in METRICS)
            print(f"tracker: {street.name}: {row}", file=sys.stderr)
    peer.close()
    deltas = {
        f"tracker_{metric}_delta": min(
            s["ours"][metric] - max(s["peer"][metric], s["peer, stamped"][metric]) for s in scores.values()
        )
        for metric in METRICS
    }
    ratio = races["usual streets"]["stamped_ratio"]
    publish("tracker", {"tracker_ratio": ratio, **deltas}, sequences=scores, speed=races, peer=PINS)
    return int(ratio < MIN_RATIO or min(deltas.values()) < 0)


if __name__ == "__main__":
    sys.exit(main())
