"""Suppression equals the plain definition of it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.frame import Boxes
from app.vision import nms
from app.vision.nms import suppress


def naive(
    xyxy: Boxes,
    score: NDArray[np.float32],
    *,
    label: NDArray[np.int32],
    max_iou: float,
    is_class_aware: bool,
    limit: int,
):
    """The definition, one pair at a time."""
    rows = [i for i in range(len(xyxy)) if np.isfinite(score[i]) and np.isfinite(xyxy[i]).all()]
    boxes = xyxy.astype(np.float64).tolist()
    kept = []
    for row in sorted(rows, key=lambda i: -score[i]):
        rivals = [other for other in kept if not is_class_aware or label[other] == label[row]]
        if not any(overlaps(boxes[row], boxes[other], max_iou=max_iou) for other in rivals):
            kept.append(row)
    return kept[:limit], len(kept) > limit


def overlaps(a: list[float], b: list[float], *, max_iou: float):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    shared = width * height
    areas = [max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in (a, b)]
    return shared > max_iou * (areas[0] + areas[1] - shared)


def random_case(random: np.random.Generator, *, count: int):
    """Few positions, scores and classes, so that ties and exact overlaps are common; some rows are broken."""
    corner = random.integers(0, 12, (count, 2))
    xyxy = np.concatenate([corner, corner + random.integers(-1, 9, (count, 2))], axis=1).astype(np.float32)
    score = (random.integers(0, 6, count) / 5).astype(np.float32)
    broken = random.random(count) < 0.05
    xyxy[broken, random.integers(0, 4)] = random.choice([np.nan, np.inf, -np.inf])
    score[random.random(count) < 0.03] = np.nan
    return xyxy, score, random.integers(0, 3, count).astype(np.int32)


def check(random: np.random.Generator, *, count: int, limit: int = 200):
    xyxy, score, label = random_case(random, count=count)
    rules = {
        "label": label,
        "max_iou": float(random.choice([0.0, 0.3, 0.5, 0.7, 1.0])),
        "is_class_aware": bool(random.integers(2)),
        "limit": limit,
    }
    kept = suppress(xyxy, score, **rules)
    assert (kept.rows.tolist(), kept.is_truncated) == naive(xyxy, score, **rules)


def test_ten_thousand_random_frames_come_out_as_defined() -> None:
    random = np.random.default_rng(0)
    for count in random.integers(0, 10, 10_000):
        check(random, count=int(count))


@pytest.mark.parametrize("limit", [1, 5, 200, 10_000])
def test_crowds_come_out_as_defined_across_blocks(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nms, "_BLOCK", 32)
    random = np.random.default_rng(limit)
    for _ in range(8):
        check(random, count=150, limit=limit)


def spread(count: int):
    """Boxes that do not touch, best first."""
    left = np.arange(count, dtype=np.float32) * 10
    xyxy = np.stack([left, left * 0, left + 5, left * 0 + 5], axis=1)
    return xyxy, np.linspace(0.9, 0.3, count, dtype=np.float32), np.zeros(count, np.int32)


@pytest.mark.parametrize(("count", "is_truncated"), [(200, False), (201, True), (700, True)])
def test_at_most_two_hundred_stay_and_more_are_told(*, count: int, is_truncated: bool) -> None:
    xyxy, score, label = spread(count)
    kept = suppress(xyxy, score, label=label, max_iou=0.5)
    assert kept.rows.tolist() == list(range(200))
    assert kept.is_truncated is is_truncated


def test_equal_scores_keep_their_order() -> None:
    xyxy, score, label = spread(50)
    kept = suppress(xyxy, np.full_like(score, 0.5), label=label, max_iou=0.5)
    assert kept.rows.tolist() == list(range(50))


def test_the_largest_floats_do_not_overflow() -> None:
    xyxy = np.array([[-3e38, -3e38, 3e38, 3e38]] * 2, np.float32)
    kept = suppress(xyxy, np.array([0.4, 0.5], np.float32), label=np.zeros(2, np.int32), max_iou=0.5)
    assert kept.rows.tolist() == [1]


def test_boxes_without_area_suppress_nothing() -> None:
    xyxy = np.array([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 10, 10]], np.float32)
    kept = suppress(xyxy, np.full(3, 0.5, np.float32), label=np.zeros(3, np.int32), max_iou=0.0)
    assert kept.rows.tolist() == [0, 1, 2]


def test_an_empty_frame_stays_empty() -> None:
    kept = suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), label=np.empty(0, np.int32), max_iou=0.5)
    assert (kept.rows.tolist(), kept.is_truncated) == ([], False)
