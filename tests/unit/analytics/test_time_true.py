"""Counts do not follow the frame rate: scenario `time-true` in small, the farm's true boxes in place of a model's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from app.analytics.events import Direction
from app.core.frame import Detections, FrameRef
from load_tests.camfarm import FrameTruth, Scene, truth_only
from load_tests.identity import idf1
from load_tests.time_true import (
    CAMERA,
    SAMPLINGS,
    Sampling,
    counted,
    differences,
    errors,
    lines_across,
    named_tracks,
    named_truth,
    tracked,
    true_counts,
)
from tests.builders import make_detections, make_ref

SCENE = Scene(seed=41)
STRETCHES_S = ((1.0, 8.0), (8.0, 15.0))
MIN_VISIBILITY = 0.3
"""Of what the bundled model's card calls an object."""

A, B, C = [0, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10]


@cache
def truth() -> list[FrameTruth]:
    return list(truth_only(SCENE, CAMERA, frames=round(16.0 * CAMERA.fps)))


def by_time(frame: FrameTruth) -> FrameRef:
    return make_ref(seq=frame.seq, pts_s=frame.captured_at_s)


def by_number(frame: FrameTruth) -> FrameRef:
    """The planted fault: no stamp, so that tracker and counter take each frame for one thirtieth of a second."""
    return make_ref(seq=frame.seq)


def seen(frame: FrameTruth, ref: FrameRef) -> Detections:
    is_seen = frame.visibility >= MIN_VISIBILITY * frame.in_frame
    return make_detections(
        frame.xyxy[is_seen],
        label=frame.label[is_seen].tolist(),
        ref=ref,
        source=(CAMERA.width_px, CAMERA.height_px),
    )


def count_errors(sampling: Sampling, *, stamp: Callable[[FrameTruth], FrameRef] = by_time) -> list[int]:
    """By how much counts are off, at every line across the road, each way, in each stretch of the scene."""
    frames = [truth()[number] for number in sampling.frames(len(truth()), seed=SCENE.seed)]
    lines = lines_across(SCENE)
    tracks = tracked([seen(frame, stamp(frame)) for frame in frames])
    off = []
    for begin_s, end_s in STRETCHES_S:
        found = counted(tracks, lines, begin_s=begin_s, end_s=end_s)
        true = true_counts(SCENE, lines, begin_s=begin_s, end_s=end_s)
        off += [found[key] - true[key] for key in true]
    return off


def test_the_scene_has_enough_to_count() -> None:
    true = true_counts(SCENE, lines_across(SCENE), begin_s=STRETCHES_S[0][0], end_s=STRETCHES_S[-1][1])
    assert min(true.values()) >= 5


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: sampling.name)
def test_lines_count_the_truth_within_one_at_every_rate(sampling: Sampling) -> None:
    assert max(map(abs, count_errors(sampling))) <= 1


@pytest.mark.parametrize("sampling", SAMPLINGS[1:], ids=lambda sampling: sampling.name)
def test_a_clock_that_counts_frames_is_caught(sampling: Sampling) -> None:
    assert max(map(abs, count_errors(sampling, stamp=by_number))) > 1


def test_errors_tell_what_is_too_many_and_too_few() -> None:
    true = {("a", Direction.FORWARD): 3, ("a", Direction.BACKWARD): 2, ("b", Direction.FORWARD): 1}
    found = {("a", Direction.FORWARD): 4, ("a", Direction.BACKWARD): 0, ("b", Direction.FORWARD): 1}
    assert errors(found, true) == {"a forward": 1, "a backward": -2}


def test_samplings_keep_the_frames_they_should() -> None:
    kept = {sampling.name: sampling.frames(12_000, seed=1) for sampling in SAMPLINGS}
    assert [len(kept[name]) for name in ("30 fps", "15 fps", "10 fps", "7.5 fps")] == [12_000, 6_000, 4_000, 3_000]
    assert kept["7.5 fps"][:3] == [0, 4, 8]
    assert len(kept["30 fps, 20 % dropped"]) == pytest.approx(0.8 * 12_000, rel=0.02)


def test_batches_that_give_other_ids_or_boxes_are_told_apart() -> None:
    tracks = tracked([seen(frame, by_time(frame)) for frame in truth()[:20]])
    assert differences(tracks, tracks) == {"frames_with_other_ids": 0, "largest_difference_of_boxes_px": 0.0}
    swapped = [*tracks[:-1], replace(tracks[-1], track_id=tracks[-1].track_id[::-1].copy())]
    assert differences(tracks, swapped)["frames_with_other_ids"] == 1
    moved = replace(tracks[-1].detections, xyxy=tracks[-1].detections.xyxy + np.float32(0.5))
    assert differences(tracks, [*tracks[:-1], replace(tracks[-1], detections=moved)])[
        "largest_difference_of_boxes_px"
    ] == pytest.approx(0.5, abs=1e-3)


def named(*frames: dict[int, list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(list(boxes.values())).reshape(-1, 4), np.array(list(boxes), dtype=int)) for boxes in frames]


TWO = named(*[{1: A, 2: B}] * 4)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (named(*[{7: A, 9: B}] * 4), 1.0),  # other names, the same identities
        (named(*[{7: A}] * 4), 2 * 4 / (8 + 4)),  # one never found
        (named(*[{7: A, 9: B, 8: C}] * 4), 2 * 8 / (8 + 12)),  # one too many
        (named({7: A, 9: B}, {7: A, 9: B}, {7: B, 9: A}, {7: A, 9: B}), 2 * 6 / 16),  # swapped for one frame of four
        (named({7: A, 9: B}, {7: A, 9: B}, {7: A, 8: B}, {7: A, 8: B}), 2 * 6 / 16),  # a new name half way
        (named(*[{7: [5, 0, 15, 10], 9: B}] * 4), 2 * 4 / 16),  # beside the object: overlap over union is 1/3
        (named(*[{}] * 4), 0.0),
    ],
)
def test_idf1_of_cases_worked_out_by_hand(found: Sequence, expected: float) -> None:
    assert idf1(TWO, found) == pytest.approx(expected)


def test_idf1_of_nothing_found_where_nothing_is_is_one() -> None:
    assert idf1(named({}), named({})) == 1.0


def test_a_track_counts_for_the_identity_that_it_follows_longest() -> None:
    found = named({7: A}, {7: A}, {7: A}, {7: B})
    assert idf1(TWO, found) == pytest.approx(2 * 3 / (8 + 4))


def test_truth_that_nobody_sees_and_boxes_without_an_id_are_left_out_of_idf1() -> None:
    frame = truth()[0]
    assert len(named_truth(frame)[0]) == int((frame.visibility >= 0.1).sum())
    first = tracked([seen(frame, by_time(frame))])[0]
    assert (first.track_id == -1).all(), "one sight confirms nobody"
    assert len(named_tracks(first)[0]) == 0
