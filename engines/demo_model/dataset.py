"""The demo model's data: camera-farm frames as the service would see them, with Ultralytics labels."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from engines.accuracy import LabelledFrame
from load_tests.camfarm.actor import LABEL_NAMES
from load_tests.camfarm.painter import Painter, Shot
from load_tests.camfarm.scene import Camera, Scene
from load_tests.camfarm.truth import FrameTruth

_SIZES_PX = ((640, 360), (640, 360), (960, 540), (960, 540), (1280, 720), (640, 480), (800, 600))
_BETWEEN_FRAMES_S = 5.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the data is made of; seeds run from `first_seed` on.

    An object is labelled when at least `min_unhidden` of what lies inside the image is not hidden and its box's shorter
    side measures `min_side_px` at the model's size.
    """

    first_seed: int
    seeds: int
    frames_per_seed: int
    input_px: int
    min_unhidden: float = 0.3
    min_side_px: float = 8.0


def is_wanted(truth: FrameTruth, recipe: Recipe, *, width_px: int, height_px: int) -> npt.NDArray[np.bool_]:
    """Which of the frame's objects must be found."""
    side = (truth.xyxy[:, 2:] - truth.xyxy[:, :2]).min(axis=1, initial=np.inf)
    unhidden = truth.visibility / np.maximum(truth.in_frame, 1e-6)
    scale = recipe.input_px / max(width_px, height_px)
    return np.asarray((unhidden >= recipe.min_unhidden) & (side * scale >= recipe.min_side_px))


def label_rows(truth: FrameTruth, recipe: Recipe, *, width_px: int, height_px: int) -> list[str]:
    """Ultralytics label lines (class, centre x, centre y, width, height as shares) of what must be found."""
    wanted = is_wanted(truth, recipe, width_px=width_px, height_px=height_px)
    rows = []
    for (x1, y1, x2, y2), label in zip(truth.xyxy[wanted], truth.label[wanted], strict=True):
        x, y = (x1 + x2) / 2 / width_px, (y1 + y2) / 2 / height_px
        rows.append(f"{label} {x:.6f} {y:.6f} {(x2 - x1) / width_px:.6f} {(y2 - y1) / height_px:.6f}")
    return rows


def labelled_frames(recipe: Recipe) -> Iterator[LabelledFrame]:
    """The recipe's frames as cameras send them, after JPEG and at their own size, with what must be found in them."""
    for seed in range(recipe.first_seed, recipe.first_seed + recipe.seeds):
        rng = np.random.default_rng([seed, 901])
        for shot in _shots(seed, rng, frames=recipe.frames_per_seed):
            bgr = _after_jpeg(shot.rgb, rng)
            height_px, width_px = bgr.shape[:2]
            wanted = is_wanted(shot.truth, recipe, width_px=width_px, height_px=height_px)
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield LabelledFrame(rgb=rgb, xyxy=shot.truth.xyxy[wanted], label=shot.truth.label[wanted])


def _shots(seed: int, rng: np.random.Generator, *, frames: int) -> Iterator[Shot]:
    """One seed's street from one camera, both drawn from `rng`; a frame is painted when it is asked for."""
    width_px, height_px = _SIZES_PX[rng.integers(len(_SIZES_PX))]
    scene = Scene(seed=seed, density=float(rng.uniform(5.0, 16.0)))
    camera = Camera(width_px=width_px, height_px=height_px, fps=1 / _BETWEEN_FRAMES_S, stream=seed)
    painter = Painter(scene, camera)
    for seq in range(frames):
        yield painter.shot(seq)


def _after_jpeg(rgb: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The frame in BGR after JPEG of some quality."""
    quality = int(rng.integers(55, 96))
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    bgr = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if bgr is None:
        message = "a JPEG written here could not be read back"
        raise RuntimeError(message)
    return np.asarray(bgr, np.uint8)


def _as_received(rgb: npt.NDArray[np.uint8], rng: np.random.Generator, *, input_px: int) -> npt.NDArray[np.uint8]:
    """The frame in BGR after JPEG and the service's scaling to the model's longer side."""
    bgr = _after_jpeg(rgb, rng)
    scale = input_px / max(bgr.shape[:2])
    size = (round(bgr.shape[1] * scale), round(bgr.shape[0] * scale))
    means = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(bgr, size, interpolation=means[rng.integers(len(means))]), np.uint8)


def _draw_seed(seed: int, folder: Path, recipe: Recipe) -> int:
    """Write one seed's frames and labels; returns how many objects were labelled."""
    cv2.setNumThreads(1)
    rng, labelled = np.random.default_rng([seed, 901]), 0
    for seq, shot in enumerate(_shots(seed, rng, frames=recipe.frames_per_seed)):
        height_px, width_px = shot.rgb.shape[:2]
        rows = label_rows(shot.truth, recipe, width_px=width_px, height_px=height_px)
        name = f"{seed:06d}_{seq:02d}"
        cv2.imwrite(str(folder / "images" / f"{name}.png"), _as_received(shot.rgb, rng, input_px=recipe.input_px))
        (folder / "labels" / f"{name}.txt").write_text("\n".join(rows) + "\n" * bool(rows))
        labelled += len(rows)
    return labelled


def draw(folder: Path, recipe: Recipe, *, processes: int) -> int:
    """Write a split's `images/` and `labels/`, unless the same recipe lies there; returns the objects labelled."""
    stamp, made = folder / "recipe.json", {**asdict(recipe), "labelled": 0}
    if stamp.exists():
        found: dict[str, float] = json.loads(stamp.read_text())
        if {**found, "labelled": 0} == made:
            return int(found["labelled"])
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (folder / part).iterdir():
            old.unlink()
    labelled, seeds = 0, range(recipe.first_seed, recipe.first_seed + recipe.seeds)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_draw_seed, seed, folder, recipe) for seed in seeds]
        for job in tqdm(jobs, desc=f"drawing {folder.name}", unit="seed", mininterval=5.0):
            labelled += job.result()
    stamp.write_text(json.dumps({**made, "labelled": labelled}))
    return labelled


def describe(folder: Path, *, train: str, val: str, names: Sequence[str] = LABEL_NAMES) -> Path:
    """Write Ultralytics' data file for two splits under `folder`; returns its path."""
    lines = [f"path: {folder.resolve()}", f"train: {train}/images", f"val: {val}/images", "names:"]
    lines += [f"  {index}: {name}" for index, name in enumerate(names)]
    target = folder / "data.yaml"
    target.write_text("\n".join(lines) + "\n")
    return target
