"""Degraded truth: repeatable, and wrong in the ways and amounts asked for."""

from functools import cache

import numpy as np

from load_tests.camfarm import Camera, Faults, NoisyDetections, Scene, degraded, truth_only
from load_tests.camfarm.truth import FrameTruth

CAMERA = Camera(width_px=640, height_px=360, fps=2.0)
PERFECT = Faults(jitter=0.0, miss_rate=0.0, min_visibility=0.0, false_positives=0.0)


@cache
def make_truths(*, frames: int = 30, density: float = 15.0) -> list[FrameTruth]:
    """Truth of one busy street."""
    return list(truth_only(Scene(seed=6, density=density), CAMERA, frames=frames))


def make_noisy(truths: list[FrameTruth], *, seed: int = 1, faults: Faults | None = None) -> list[NoisyDetections]:
    """Each truth degraded."""
    return [degraded(truth, seed, width_px=640, height_px=360, faults=faults) for truth in truths]


def test_same_seed_gives_the_same_detections_and_another_others() -> None:
    truths = make_truths(frames=5)
    one, two, other = make_noisy(truths), make_noisy(truths), make_noisy(truths, seed=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        np.testing.assert_array_equal(a.score, b.score)
    assert any(
        a.xyxy.shape != b.xyxy.shape or not np.array_equal(a.xyxy, b.xyxy) for a, b in zip(one, other, strict=True)
    )


def test_types_ranges_and_order() -> None:
    for noisy in make_noisy(make_truths()):
        assert [each.dtype.name for each in (noisy.xyxy, noisy.score, noisy.label)] == ["float32", "float32", "int32"]
        assert np.all(
            (noisy.xyxy[:, 2:] > noisy.xyxy[:, :2]) & (noisy.xyxy[:, 2:] <= (640, 360)) & (noisy.xyxy[:, :2] >= 0)
        )
        assert np.all((noisy.score > 0) & (noisy.score < 1) & (np.diff(noisy.score, prepend=1.0) <= 0))


def test_wholly_visible_actors_are_found_exactly_without_faults() -> None:
    for truth, noisy in zip(make_truths(), make_noisy(make_truths(), faults=PERFECT), strict=True):
        visible = truth.identity[truth.visibility >= 1.0]
        assert set(visible.tolist()) <= set(noisy.identity.tolist())
        for identity, box in zip(noisy.identity, noisy.xyxy, strict=True):
            np.testing.assert_allclose(box, truth.xyxy[truth.identity == identity][0], atol=1e-3)


def test_misses_and_ghosts_come_at_the_rate_asked_for() -> None:
    truths = make_truths(frames=40)
    noisy = make_noisy(truths, faults=Faults(miss_rate=0.4, false_positives=1.5))
    visible = sum(int(np.count_nonzero(truth.visibility >= 1.0)) for truth in truths)
    found = sum(
        int(np.isin(truth.identity[truth.visibility >= 1.0], each.identity).sum())
        for truth, each in zip(truths, noisy, strict=True)
    )
    assert 0.5 < found / visible < 0.7
    assert 1.0 < np.mean([np.count_nonzero(each.identity < 0) for each in noisy]) < 2.0


def test_hidden_actors_score_lower() -> None:
    clear: list[float] = []
    hidden: list[float] = []
    for truth, noisy in zip(make_truths(frames=40), make_noisy(make_truths(frames=40)), strict=True):
        for identity, score in zip(noisy.identity, noisy.score, strict=True):
            visibility = truth.visibility[truth.identity == identity]
            (clear if np.all(visibility > 0.95) else hidden).extend([float(score)] * len(visibility))
    assert np.mean(hidden) < np.mean(clear) - 0.15
