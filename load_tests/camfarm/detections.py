"""Truth made worse: the detections an imperfect detector would return, for tests of trackers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from load_tests.camfarm.actor import LABEL_NAMES
from load_tests.camfarm.truth import FrameTruth


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How a detector errs. `jitter` is the standard deviation of each edge as a share of the box's side.

    `miss_rate` is the chance to miss a wholly visible actor; actors seen less than `min_visibility` are always missed,
    in between the chance falls with visibility. `false_positives` is their mean number per frame; `swap_rate` the
    chance of a wrong class.
    """

    jitter: float = 0.02
    miss_rate: float = 0.03
    min_visibility: float = 0.15
    false_positives: float = 0.2
    swap_rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisyDetections:
    """`xyxy` (n, 4) float32 source pixels, `score` (n,) float32 in (0, 1), `label` (n,) int32, best score first.

    `identity` (n,) int64 is whom the box was made from, -1 for a false positive: for checking, not for the tracker.
    """

    xyxy: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    label: npt.NDArray[np.int32]
    identity: npt.NDArray[np.int64]


def _false_boxes(rng: np.random.Generator, count: int, *, width_px: int, height_px: int) -> npt.NDArray[np.float32]:
    middle = rng.uniform((0, 0.2 * height_px), (width_px, height_px), (count, 2))
    half = rng.uniform(0.01, 0.06, (count, 2)) * width_px
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def degraded(
    truth: FrameTruth, seed: int, *, width_px: int, height_px: int, faults: Faults | None = None
) -> NoisyDetections:
    """One frame's truth as an imperfect detector would report it; the same for the same (seed, truth.seq).

    Boxes stay inside the image; those that jitter leaves without area are dropped.
    """
    faults = faults or Faults()
    rng = np.random.default_rng([seed, truth.stream, truth.seq, 1001])
    # One row of draws per actor whatever happens to it, so that one setting does not shuffle the others' luck.
    draws, noise = rng.random((len(truth), 3)), rng.standard_normal((len(truth), 4))
    visibility = truth.visibility.astype(np.float64)
    share = ((visibility - faults.min_visibility) / max(1 - faults.min_visibility, 1e-6)).clip(0, 1)
    found = (draws[:, 0] < (1 - faults.miss_rate) * np.sqrt(share)) & (visibility >= faults.min_visibility)
    side = (truth.xyxy[:, 2:] - truth.xyxy[:, :2])[:, [0, 1, 0, 1]]
    # Hidden parts are guessed: the fewer pixels are seen, the looser the box.
    boxes = truth.xyxy + noise * faults.jitter * side * (2 - share[:, None])
    score = (0.25 + 0.7 * share * (0.8 + 0.2 * draws[:, 1])).clip(0.05, 0.98)
    swapped = (truth.label + 1) % len(LABEL_NAMES)
    label = np.where(draws[:, 2] < faults.swap_rate, swapped, truth.label)
    ghosts = int(rng.poisson(faults.false_positives))
    xyxy = np.concatenate([boxes[found], _false_boxes(rng, ghosts, width_px=width_px, height_px=height_px)])
    xyxy[:, 0::2] = xyxy[:, 0::2].clip(0, width_px)
    xyxy[:, 1::2] = xyxy[:, 1::2].clip(0, height_px)
    scores = np.concatenate([score[found], rng.uniform(0.1, 0.55, ghosts)])
    labels = np.concatenate([label[found], rng.integers(0, len(LABEL_NAMES), ghosts)])
    identities = np.concatenate([truth.identity[found], np.full(ghosts, -1)])
    order = np.argsort(-scores, kind="stable")
    order = order[((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))[order]]
    return NoisyDetections(
        xyxy=xyxy[order].astype(np.float32),
        score=scores[order].astype(np.float32),
        label=labels[order].astype(np.int32),
        identity=identities[order].astype(np.int64),
    )
