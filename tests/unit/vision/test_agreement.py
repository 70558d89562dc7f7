from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest

from app.core.frame import Detections
from app.vision.agreement import Agreement
from tests.builders import make_detections

Pair: TypeAlias = tuple[Detections, Detections]
Measure: TypeAlias = Callable[[Sequence[Pair]], float | None]


def measured(pairs: Sequence[Pair], *, min_boxes: int = 1) -> float | None:
    agreement = Agreement()
    for truth, answer in pairs:
        agreement.add(truth, answer)
    assert agreement.frames == len(pairs)
    return agreement.mean_ap(min_boxes=min_boxes)


def iou(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (area - shared))


def brute_class(pairs: Sequence[Pair], label: int, threshold: float) -> float:
    """COCO's average precision, box by box, as its loops say it."""
    rows: list[tuple[float, bool]] = []
    truths = 0
    for truth, answer in pairs:
        boxes = [box.astype(float) for box, kind in zip(truth.xyxy, truth.label, strict=True) if kind == label]
        truths += len(boxes)
        taken: set[int] = set()
        mine = [place for place, kind in enumerate(answer.label) if kind == label]
        for place in sorted(mine, key=lambda place: -answer.score[place]):
            best, match = threshold, None
            for index, box in enumerate(boxes):
                overlap = iou(answer.xyxy[place].astype(float), box)
                if index not in taken and overlap >= best:
                    best, match = overlap, index
            taken |= set() if match is None else {match}
            rows.append((float(answer.score[place]), match is not None))
    rows.sort(key=lambda row: -row[0])
    points, hits = [], 0
    for count, (_, is_hit) in enumerate(rows, 1):
        hits += is_hit
        points.append((hits / max(truths, 1), hits / count))
    reached = [max([p for r, p in points if r >= recall], default=0.0) for recall in np.linspace(0, 1, 101)]
    return sum(reached) / len(reached) if truths else 0.0


def brute(pairs: Sequence[Pair]) -> float | None:
    labels = {int(kind) for pair in pairs for side in pair for kind in side.label}
    thresholds = np.linspace(0.5, 0.95, 10)
    values = [brute_class(pairs, label, float(each)) for label in sorted(labels) for each in thresholds]
    return sum(values) / len(values) if values else None


def scene(seed: int, *, frames: int = 6, kinds: int = 3, jitter_px: float = 6.0) -> list[Pair]:
    """Frames in which the answer misses, moves and makes up boxes, some with equal scores, some on top of others."""
    chance = np.random.default_rng(seed)
    pairs = []
    for _ in range(frames):
        count = int(chance.integers(0, 9))
        corner = chance.uniform(0, 120, (count, 2))
        truth = np.concatenate([corner, corner + chance.uniform(15, 60, (count, 2))], axis=1).round()
        label = chance.integers(0, kinds, count)
        kept = np.flatnonzero(chance.random(count) < 0.8)
        kept = np.concatenate([kept, kept[: len(kept) // 2]])  # half of them twice
        moved = truth[kept] + chance.normal(0, jitter_px, (len(kept), 4)).round()
        extra = chance.uniform(0, 100, (int(chance.integers(0, 4)), 2)).round()
        boxes = np.concatenate([moved, np.concatenate([extra, extra + 30], axis=1)])
        kind = np.concatenate([label[kept], chance.integers(0, kinds, len(extra))])
        score = chance.integers(1, 10, len(boxes)) / 10
        pairs.append(
            (
                make_detections(truth.tolist(), label=label.tolist()),
                make_detections(boxes.tolist(), label=kind.tolist(), score=score.tolist()),
            )
        )
    return pairs


def check_against_brute_force(measure: Measure) -> None:
    for seed in range(12):
        pairs = scene(seed)
        assert measure(pairs) == pytest.approx(brute(pairs), abs=1e-12), seed


def test_it_is_what_counting_box_by_box_gives() -> None:
    check_against_brute_force(measured)


def lenient(pairs: Sequence[Pair]) -> float | None:
    """Every class as one."""
    as_one = [tuple(make_detections(side.xyxy, score=side.score.tolist()) for side in pair) for pair in pairs]
    return measured([(truth, answer) for truth, answer in as_one])


def per_frame(pairs: Sequence[Pair]) -> float | None:
    """The mean of the frames, which lets a low score of one frame go before a high one of another."""
    values = [value for pair in pairs if (value := measured([pair])) is not None]
    return sum(values) / len(values)


def backwards(pairs: Sequence[Pair]) -> float | None:
    """The truth judged by the answer."""
    return measured([(answer, truth) for truth, answer in pairs])


@pytest.mark.parametrize("planted", [lenient, per_frame, backwards])
def test_the_check_finds_a_planted_fault(planted: Measure) -> None:
    with pytest.raises(AssertionError):
        check_against_brute_force(planted)


def test_the_same_answers_agree_wholly() -> None:
    same = [(truth, truth) for truth, _ in scene(3)]
    assert measured(same) == 1.0


def test_answers_that_share_nothing_agree_not_at_all() -> None:
    truth = make_detections([[0, 0, 10, 10]])
    assert measured([(truth, make_detections([[50, 50, 60, 60]]))]) == 0.0
    assert measured([(truth, make_detections([]))]) == 0.0
    assert measured([(truth, make_detections([[0, 0, 10, 10]], label=[1]))]) == 0.0


def test_a_box_is_hit_once() -> None:
    truth = make_detections([[0, 0, 10, 10], [50, 50, 60, 60]])
    twice = make_detections([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], score=[0.9, 0.8, 0.7])
    assert measured([(truth, twice)]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_class_that_only_the_answer_sees_counts_as_wrong() -> None:
    truth = make_detections([[0, 0, 10, 10]])
    made_up = make_detections([[0, 0, 10, 10], [20, 20, 30, 30]], label=[0, 7])
    assert measured([(truth, made_up)]) == 0.5


def test_nothing_on_either_side_says_nothing() -> None:
    empty = make_detections([])
    assert measured([]) is None
    assert measured([(empty, empty)]) is None


def test_classes_with_too_few_boxes_are_left_out() -> None:
    truth = make_detections([[0, 0, 10, 10], [0, 0, 10, 10]])
    made_up = make_detections([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]], label=[0, 0, 7])
    assert measured([(truth, made_up)], min_boxes=2) == 1.0
    assert measured([(truth, made_up)], min_boxes=3) is None


def test_a_shift_costs_the_thresholds_that_it_falls_below() -> None:
    truth = make_detections([[0, 0, 100, 10]])
    moved = make_detections([[0, 0, 76, 10]])  # IoU 0.76: six of ten thresholds
    assert measured([(truth, moved)]) == pytest.approx(0.6)


def test_boxes_without_area_match_nothing_and_break_nothing() -> None:
    flat = make_detections([[5, 5, 5, 5], [9, 9, 1, 1]])
    assert measured([(flat, flat)]) == 0.0


def test_after_clearing_it_begins_anew() -> None:
    agreement = Agreement()
    agreement.add(make_detections([[0, 0, 10, 10]]), make_detections([]))
    agreement.clear()
    assert (agreement.frames, agreement.mean_ap()) == (0, None)
    agreement.add(make_detections([[0, 0, 10, 10]]), make_detections([[0, 0, 10, 10]]))
    assert agreement.mean_ap() == 1.0
