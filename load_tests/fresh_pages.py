"""Scenario `fresh-pages`: what images and videos cost with glibc as it is, and with the environment that we start with.

Micro-batches of eight 1080p pictures are decoded and letterboxed on threads of their own, the last few batches still in
somebody's hands, as in the stages; and a 1080p video is decoded ahead of its reader. Each turn runs in a process of its
own, since glibc reads the environment once; the two sides alternate, and the processor's time is compared.

    python -m load_tests.fresh_pages [--rounds 5]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import cv2

from app.core.frame import EncodedFrame, Frame, FrameRef, ModelInput
from app.core.heap import HEAP_ENVIRONMENT, fresh_pages
from app.core.video import VideoSpec
from app.media.still import decode_still
from app.media.video import VideoReader
from app.vision.letterbox import fit
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.camfarm.video import write_mp4
from load_tests.evidence import alternate, publish

MODEL_PX: Final = 640
CAMERA: Final = Camera(width_px=1920, height_px=1080, fps=15.0)
BATCH: Final = 8
BATCHES: Final = 16
HELD: Final = 3
VIDEO_FRAMES: Final = 45
TARGET_RATIO: Final = 0.97
MOST_PAGES: Final = 60


def decoded(body: bytes) -> Frame:
    """One still, as the decoding stage makes it."""
    encoded = EncodedFrame(data=body, ref=FrameRef(stream_id="pages", seq=0))
    return decode_still(encoded, model_width_px=MODEL_PX, model_height_px=MODEL_PX)


def fitted(frames: list[Frame]) -> list[ModelInput]:
    """One batch, as the preprocessing stage makes it."""
    return [fit(frame, width_px=MODEL_PX, height_px=MODEL_PX) for frame in frames]


def images(folder: Path) -> int:
    """Batches of stills through two decoding threads and a fitting one; how many images that were."""
    bodies = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
    held: deque[list[ModelInput]] = deque(maxlen=HELD)
    with ThreadPoolExecutor(2) as decoding, ThreadPoolExecutor(1) as fitting:
        for _ in range(BATCHES):
            frames = list(decoding.map(decoded, [bodies[index % len(bodies)] for index in range(BATCH)]))
            held.append(fitting.submit(fitted, frames).result())
    return BATCH * BATCHES


def video(folder: Path) -> int:
    """One video, decoded on a thread and fitted in batches; how many frames that were."""
    held: deque[list[ModelInput]] = deque(maxlen=HELD)
    count = 0
    with ThreadPoolExecutor(1) as decoding, ThreadPoolExecutor(1) as fitting:
        batches = frames_of(folder / "clip.mp4")
        while batch := decoding.submit(lambda: next(batches, [])).result():
            count += len(batch)
            held.append(fitting.submit(fitted, batch).result())
    return count


def frames_of(file: Path) -> Iterator[list[Frame]]:
    """The video's frames in batches."""
    batch: list[Frame] = []
    reader = VideoReader(file, stream_id="v", spec=VideoSpec(), model_width_px=MODEL_PX, model_height_px=MODEL_PX)
    with reader:
        for outcome in reader:
            if isinstance(outcome, Frame):
                batch.append(outcome)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


WORK: Final[Mapping[str, Callable[[Path], int]]] = {"images": images, "video": video}


def measure(name: str, folder: Path) -> dict[str, float]:
    """One warm turn in this process: processor seconds and fresh pages per picture, and the resident memory."""
    cv2.setNumThreads(1)
    WORK[name](folder)
    start_s, start_pages = processor_s(), fresh_pages()
    count = WORK[name](folder)
    return {
        "cpu_s": (processor_s() - start_s) / count,
        "pages": (fresh_pages() - start_pages) / count,
        "rss_mib": int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        * resource.getpagesize()
        / 2**20,
    }


def processor_s() -> float:
    """User and system seconds of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def turn(name: str, folder: Path, *, is_tuned: bool) -> dict[str, float]:
    """The same in a new process, with our environment or with glibc's defaults."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    ran = subprocess.run(
        [sys.executable, "-m", "load_tests.fresh_pages", "--measure", name, "--folder", str(folder)],
        env={**plain, **(HEAP_ENVIRONMENT if is_tuned else {})},
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, float] = json.loads(ran.stdout)
    return figures


def write_pictures(folder: Path) -> None:
    """Four street scenes, and one of them moving."""
    for seed in range(1, 5):
        (shot,) = render(Scene(seed=seed), CAMERA, frames=1)
        (folder / f"{seed}.jpg").write_bytes(encode_jpeg(shot.rgb, quality=80))
    write_mp4(folder / "clip.mp4", render(Scene(seed=7), CAMERA, frames=VIDEO_FRAMES), CAMERA.fps)


def compare(name: str, folder: Path, *, rounds: int) -> dict[str, float]:
    """The figures of one kind of work: tuned against plain."""
    tuned: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []

    def side(is_tuned: bool, into: list[dict[str, float]]) -> float:  # noqa: FBT001  two sides of one call
        into.append(turn(name, folder, is_tuned=is_tuned))
        return into[-1]["cpu_s"]

    ratio, *_ = alternate(lambda: side(True, tuned), lambda: side(False, plain), rounds=rounds)
    figures = {f"{name}_cpu_ratio": ratio}
    for key in ("cpu_s", "pages", "rss_mib"):
        figures[f"{name}_{key}"] = statistics.median(one[key] for one in tuned)
        figures[f"{name}_{key}_plain"] = statistics.median(one[key] for one in plain)
    return figures


def main() -> int:
    """Measure, publish, and return 1 when the environment no longer earns its place."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=tuple(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        figures = compare("images", folder, rounds=arguments.rounds) | compare("video", folder, rounds=arguments.rounds)
    publish("fresh-pages", figures, rounds=arguments.rounds, environment=dict(HEAP_ENVIRONMENT), batch=BATCH)
    has_gained = figures["images_cpu_ratio"] <= TARGET_RATIO and figures["images_pages"] <= MOST_PAGES
    return 0 if has_gained else 1


if __name__ == "__main__":
    sys.exit(main())
