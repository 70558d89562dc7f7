import gc

import numpy as np
import pytest

from app.tracking.bytetrack import IDS_PER_EPOCH, ByteTracker
from tests.unit.tracking.scenes import at, box, film, identity_faults, ids, make_tracker, run, steps, still, walkers

IRREGULAR_S = [0.0, 0.03, 0.2, 0.21, 0.5, 0.8, 0.85, 1.4, 1.41, 2.0]


def test_first_sight_has_no_id_and_the_second_has_one():
    assert run(make_tracker(), film(lambda t: [box(100 + 30 * t)], steps(3, fps=30))) == [[-1], [1], [1]]


def test_one_sight_is_enough_where_the_parameters_say_so():
    assert run(make_tracker(min_hits=1), still([box(100)], steps(2, fps=30))) == [[1], [1]]


def test_third_sight_confirms_where_the_parameters_say_so():
    assert run(make_tracker(min_hits=3), still([box(100)], steps(4, fps=30))) == [[-1], [-1], [1], [1]]


def test_unconfirmed_track_that_is_missed_is_forgotten():
    frames = [at(0.0, [box(100)]), at(0.1, []), at(0.2, [box(100)]), at(0.3, [box(100)])]
    assert run(make_tracker(), frames) == [[-1], [], [-1], [1]]


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0, 60.0])
def test_track_keeps_its_id_through_a_half_second_occlusion(fps: float):
    tracker = make_tracker()
    before = run(tracker, film(lambda t: [box(100 + 80 * t)], steps(int(fps) + 1, fps=fps)))
    run(tracker, still([], steps(int(fps / 2) - 1, fps=fps, begin_s=1 + 1 / fps)))
    after = run(tracker, film(lambda t: [box(100 + 80 * t)], steps(3, fps=fps, begin_s=1.5 + 1 / fps)))
    assert before[-1] == [1]
    assert after == [[1], [1], [1]]


@pytest.mark.parametrize("fps", [4.0, 10.0, 25.0, 60.0])
@pytest.mark.parametrize(("gap_s", "found"), [(1.0, 1), (1.25, 2)])
def test_lost_buffer_is_in_seconds_at_any_frame_rate(fps: float, gap_s: float, found: int):
    tracker = make_tracker(max_lost_s=1.0)
    run(tracker, still([box(100)], steps(int(2 * fps) + 1, fps=fps)))
    run(tracker, still([], steps(int(gap_s * fps) - 1, fps=fps, begin_s=2 + 1 / fps)))
    after = run(tracker, still([box(100)], steps(2, fps=fps, begin_s=2 + gap_s)))
    assert after[-1] == [found]


def test_gap_in_the_stamps_longer_than_the_buffer_gives_a_new_id():
    tracker = make_tracker(max_lost_s=1.0)
    run(tracker, still([box(100)], [0.0, 0.1, 0.2]))
    assert run(tracker, still([box(100)], [1e6, 1e6 + 0.1])) == [[-1], [2]]


def test_low_scores_keep_a_track_in_the_second_association():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(5, fps=30)))
    assert run(tracker, still([box(100)], steps(5, fps=30, begin_s=5 / 30), score=[0.2])) == [[1]] * 5


def test_low_scores_begin_no_track():
    frames = still([box(100)], steps(5, fps=30), score=[0.4])
    assert run(make_tracker(), frames) == [[-1]] * 5


def test_scores_below_the_lowest_are_left_alone():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(3, fps=30)))
    assert ids(tracker.update(at(0.1, [box(100)], score=[0.05]))) == [-1]


def test_high_score_goes_before_a_better_placed_low_score():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(3, fps=30)))
    assert ids(tracker.update(at(0.1, [box(106), box(100)], score=[0.9, 0.3]))) == [1, -1]


def test_confirmed_track_goes_before_a_new_one():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(3, fps=30)))
    tracker.update(at(0.1, [box(100), box(112)]))
    assert ids(tracker.update(at(0.2, [box(110)]))) == [1]


def far_lane(tracker: ByteTracker, *, fps: float, width_px: int) -> list[list[int]]:
    """Ids of a car that enters at x = 800, hidden for 0.4 s as soon as it is in; the picture is `width_px` wide."""

    def car(time_s: float) -> list[list[float]]:
        left = 800 - 300 * time_s
        return [[left, 200.0, min(left + 120, 800.0), 260.0]]

    first = [1 / fps + time_s for time_s in steps(int(0.4 * fps), fps=fps)]
    hidden = [first[-1] + time_s for time_s in steps(round(0.4 * fps), fps=fps, begin_s=1 / fps)]
    after = [hidden[-1] + time_s for time_s in steps(3, fps=fps, begin_s=1 / fps)]
    size = {"source": (width_px, 600)}
    run(tracker, film(car, first, **size))
    run(tracker, film(lambda _: [], hidden, **size))
    return run(tracker, film(car, after, **size))


@pytest.mark.parametrize("fps", [7.5, 10.0, 15.0, 30.0])
def test_car_that_enters_past_the_rim_keeps_its_id_when_it_is_hidden_at_once(fps: float):
    assert far_lane(make_tracker(), fps=fps, width_px=800) == [[1], [1], [1]]


@pytest.mark.parametrize("fps", [7.5, 10.0])
def test_that_car_loses_its_id_where_the_rim_is_not_known(fps: float):
    assert far_lane(make_tracker(), fps=fps, width_px=1600)[0] != [1]


def test_ids_are_never_shared_between_streams_nor_depend_on_each_other():
    alone, one, two = make_tracker(), make_tracker(), make_tracker()
    frames = film(lambda t: [box(100 + 50 * t), box(500)], steps(10, fps=30))
    others = still([box(300), box(700), box(900)], steps(10, fps=30), stream_id="t")
    expected = run(alone, frames)
    mixed = [(ids(one.update(a)), ids(two.update(b))) for a, b in zip(frames, others, strict=True)]
    assert [first for first, _ in mixed] == expected
    assert [second for _, second in mixed][-1] == [1, 2, 3]


def test_ids_of_another_epoch_differ():
    frames = still([box(100)], steps(2, fps=30))
    assert run(make_tracker(epoch=7), frames)[-1] == [7 * IDS_PER_EPOCH + 1]


def test_ids_are_never_used_again():
    tracker = make_tracker(max_lost_s=0.1)
    given = [run(tracker, still([box(100)], [number, number + 0.05]))[-1] for number in range(20)]
    assert given == [[number] for number in range(1, 21)]


def test_crossing_objects_keep_their_ids():
    frames = film(lambda t: [box(100 + 200 * t, 200), box(500 - 200 * t, 230)], steps(61, fps=30))
    assert identity_faults([((0, 1), found) for found in run(make_tracker(), frames)]) == 0


def test_a_swap_of_two_ids_is_noticed_by_the_checker():
    assert identity_faults([((0, 1), (5, 6)), ((0, 1), (6, 5))]) == 4


def test_label_is_part_of_an_identity_unless_told():
    turn = [at(0.0, [box(100)]), at(0.1, [box(100)]), at(0.2, [box(100)], label=[1])]
    assert run(make_tracker(), turn)[-1] == [-1]
    assert run(make_tracker(is_class_aware=False), turn)[-1] == [1]


@pytest.mark.parametrize("times_s", [steps(60, fps=30), steps(20, fps=10), IRREGULAR_S])
def test_identities_hold_at_any_rate_and_at_irregular_times(times_s: list[float]):
    boxes = walkers(3, count=8)
    rng = np.random.default_rng(5)
    tracker, seen = make_tracker(), []
    for time_s in times_s:
        order = rng.permutation(8)
        noisy = boxes(time_s) + rng.normal(0, 1.0, (8, 4))
        seen.append((order.tolist(), ids(tracker.update(at(time_s, noisy[order].tolist())))))
    assert identity_faults(seen) == 0
    assert min(seen[-1][1]) >= 1


def test_frames_without_detections_are_fine_at_any_time():
    tracker = make_tracker()
    assert run(tracker, [at(0.0, []), at(0.1, []), at(0.2, [box(100)]), at(0.3, [box(100)]), at(0.4, [])]) == [
        [],
        [],
        [-1],
        [1],
        [],
    ]
    assert tracker.update(at(0.5, [])).track_id.dtype == np.int64


def test_rows_that_are_no_boxes_belong_to_no_track_and_harm_none():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(3, fps=30)))
    nan, inf = float("nan"), float("inf")
    bad = [[nan, 0, 9, 9], [0, 0, inf, 9], [-inf, -inf, inf, inf], [9, 9, 9, 20], [20, 20, 9, 9]]
    found = tracker.update(at(0.1, [*bad, box(100), box(400)], score=[0.9, 0.9, 0.9, 0.9, 0.9, 0.9, nan]))
    assert ids(found) == [-1, -1, -1, -1, -1, 1, -1]
    assert ids(tracker.update(at(0.15, [box(100)]))) == [1]


def test_late_and_repeated_frames_are_matched_without_motion():
    tracker = make_tracker()
    run(tracker, film(lambda t: [box(100 + 60 * t)], steps(31, fps=30)))
    assert run(tracker, film(lambda t: [box(100 + 60 * t)], [1.0, 0.9, 0.95, 1.05])) == [[1]] * 4


def test_late_frame_confirms_no_track_that_it_does_not_show():
    tracker = make_tracker()
    frames = [at(1.0, []), at(1.1, [box(100)]), at(1.05, []), at(1.2, [box(100)]), at(1.3, [box(100)])]
    assert run(tracker, frames) == [[], [-1], [], [-1], [1]]


def test_source_that_begins_anew_keeps_its_tracks_for_their_time():
    tracker = make_tracker()
    run(tracker, still([box(100)], steps(10, fps=30, begin_s=500.0)))
    assert run(tracker, still([box(100)], steps(3, fps=30))) == [[1], [1], [1]]


def test_frames_without_stamps_count_as_a_thirtieth_of_a_second():
    tracker = make_tracker(max_lost_s=1.0)
    run(tracker, [at(None, [box(100)])] * 3)
    run(tracker, [at(None, [])] * 29)
    assert ids(tracker.update(at(None, [box(100)]))) == [1]
    run(tracker, [at(None, [])] * 30)
    assert ids(tracker.update(at(None, [box(100)]))) == [-1]


def test_detections_come_back_row_by_row_as_they_were():
    frame = at(0.0, [box(100), box(400)], score=[0.9, 0.2])
    found = make_tracker().update(frame)
    assert found.detections is frame
    assert not found.track_id.flags.writeable


def test_input_is_read_and_never_written_or_kept():
    tracker = make_tracker()
    frame = at(0.0, [box(100)])
    assert not frame.xyxy.flags.writeable
    tracker.update(frame)
    held = gc.get_referrers(frame.xyxy)
    assert all(holder is not tracker for holder in held)


def test_same_input_gives_the_same_ids():
    boxes = walkers(9, count=30)
    frames = [at(t, boxes(t).tolist()) for t in steps(40, fps=12.5)]
    assert run(make_tracker(), frames) == run(make_tracker(), frames)
