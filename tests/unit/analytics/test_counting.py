import copy
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.analytics.counting import StreamCounter
from app.analytics.events import LineCrossed, ZoneEntered, ZoneLeft
from app.analytics.geometry import Segment, Space
from app.analytics.lines import Line
from app.core.errors import InvalidParameterError, SnapshotError
from app.core.frame import Tracks
from tests.unit.analytics.paths import LABELS, film, make_line, make_tracks, make_zone, run, times, wander


def make_counter(**knobs: float) -> StreamCounter:
    return StreamCounter(
        [make_line(), make_line("low", start=(0, 0.7), end=(1, 0.7))], [make_zone(dwell_s=1.0)], **knobs
    )


def crowd(seed: int, *, tracks: int = 5) -> list[Tracks]:
    script = {number: wander(seed + number, count=10, step_s=lambda c: c.uniform(0.2, 1.5)) for number in range(tracks)}
    return film(script, times(fps=10, until_s=8, dropped=0.2, seed=seed))


def shuffled(frame: Tracks, chance: random.Random) -> Tracks:
    found, rows = frame.detections, chance.sample(range(len(frame.track_id)), len(frame.track_id))
    mixed = replace(found, xyxy=found.xyxy[rows], score=found.score[rows], label=found.label[rows])
    return Tracks(detections=mixed, track_id=frame.track_id[rows])


def test_events_do_not_follow_the_order_of_rows():
    frames, chance = crowd(1), random.Random(1)
    events = run(make_counter(), frames)
    assert len(events) > 10
    assert run(make_counter(), [shuffled(frame, chance) for frame in frames]) == events


def test_events_of_a_frame_come_by_time_then_track():
    frames = [make_tracks(0.0, {1: (100, 500), 2: (450, 500), 3: (100, 400)})]
    frames.append(make_tracks(1.0, {1: (900, 500), 2: (900, 500), 3: (900, 400)}))
    events = run(StreamCounter([make_line()], []), frames)
    assert [event.track_id for event in events] == [2, 1, 3]


def test_unseen_tracks_are_forgotten_and_memory_is_bounded():
    counter = make_counter()
    sizes = []
    for number in range(300):
        counter.update(make_tracks(number * 0.5, {number: (700, 500), 10**6 + number: (100, 500)}), LABELS)
        sizes.append(len(json.dumps(counter.snapshot())))
    assert max(sizes[100:]) < 1.1 * max(sizes[:20])
    assert len(counter.snapshot()["seen"]) == 10


def test_track_that_comes_back_after_too_long_does_not_cross():
    frames = [make_tracks(0.0, {1: (300, 500)}), make_tracks(2.5, {1: (900, 500)})]
    assert run(StreamCounter([make_line()], []), frames) == []
    assert len(run(StreamCounter([make_line()], [], lost_s=3.0), frames)) == 1


def test_new_epoch_forgets_tracks_and_keeps_totals():
    counter = make_counter()
    frames = [make_tracks(0.0, {1: (300, 500)}), make_tracks(1.0, {1: (700, 500)}), make_tracks(1.6, {1: (700, 500)})]
    assert [type(event) for event in run(counter, frames)] == [LineCrossed, ZoneEntered]
    (left,) = counter.update(make_tracks(0.0, {1: (300, 500)}, epoch=1), LABELS)
    assert (type(left), left.at_s, left.ref.epoch) == (ZoneLeft, 1.6, 0)
    assert counter.lines[0].counts["forward"] == {"person": 1}
    assert counter.zones[0].distinct == {"person": 1}
    (again,) = counter.update(make_tracks(0.5, {1: (599, 500)}, epoch=1), LABELS)
    assert (again.direction, again.ref.epoch) == ("forward", 1)


@pytest.mark.parametrize("change", [{"size_px": 2000}, {"epoch": 1}], ids=["size", "epoch"])
def test_sides_from_before_a_change_do_not_count(change: dict):
    frames = [
        make_tracks(0.0, {1: (300, 500)}),
        make_tracks(0.1, {1: (1900 if change.get("size_px") else 900, 500)}, **change),
    ]
    assert run(StreamCounter([make_line()], []), frames) == []


def test_stamps_that_begin_anew_forget_tracks():
    frames = [make_tracks(50.0, {1: (300, 500)}), make_tracks(0.0, {1: (700, 500)}), make_tracks(0.1, {1: (300, 500)})]
    assert [event.direction for event in run(StreamCounter([make_line()], []), frames)] == ["backward"]


def test_late_frame_is_not_counted():
    frames = [make_tracks(at_s, {1: (x, 500)}) for at_s, x in [(0.0, 300), (0.2, 700), (0.1, 300), (0.3, 700)]]
    assert len(run(StreamCounter([make_line()], []), frames)) == 1


def test_frames_without_stamps_follow_each_other():
    frames = [make_tracks(None, {1: (x, 500)}) for x in (300, 700)]
    assert [event.at_s for event in run(StreamCounter([make_line()], []), frames)] == pytest.approx([1 / 60])


def test_empty_frames_and_no_shapes_are_fine():
    assert run(make_counter(), [make_tracks(0.0, {}), make_tracks(0.1, {})]) == []
    assert run(StreamCounter([], []), crowd(2)) == []


def test_other_streams_frame_is_refused():
    counter = make_counter()
    counter.update(make_tracks(0.0, {}), LABELS)
    with pytest.raises(ValueError, match="one stream"):
        counter.update(make_tracks(0.1, {}, stream_id="other"), LABELS)


def test_shape_outside_of_the_picture_is_refused_and_changes_nothing():
    wide = Line(name="wide", segment=Segment(start=(0, 0), end=(1500, 0), space=Space.PIXELS))
    counter = StreamCounter([wide], [])
    before = counter.snapshot()
    with pytest.raises(InvalidParameterError):
        counter.update(make_tracks(0.0, {1: (1, 1)}), LABELS)
    assert counter.snapshot() == before


@pytest.mark.parametrize("lost_s", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_lost_time_is_refused(lost_s: float):
    with pytest.raises(InvalidParameterError):
        make_counter(lost_s=lost_s)


def test_names_must_differ():
    with pytest.raises(InvalidParameterError):
        StreamCounter([make_line(), make_line()], [])


def gone_on(frames: list[Tracks], *, cut: int, spoil: bool = False) -> tuple[list, dict]:
    """The events of a counter that is stopped and started again after `cut` frames, and its state in the end."""
    first, second = make_counter(), make_counter()
    events = run(first, frames[:cut])
    state = json.loads(json.dumps(first.snapshot(), allow_nan=False))
    state["lines"][0]["tracks"] = state["lines"][0]["tracks"][: 0 if spoil else None]
    second.restore(state)
    return events + run(second, frames[cut:]), second.snapshot()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 50))
def test_going_on_from_a_snapshot_is_as_if_never_stopped(seed: int, cut: int):
    frames, whole = crowd(seed), make_counter()
    assert gone_on(frames, cut=cut) == (run(whole, frames), whole.snapshot())


def test_comparison_of_snapshots_finds_a_lost_track():
    frames = crowd(7)
    assert any(gone_on(frames, cut=cut, spoil=True)[0] != run(make_counter(), frames) for cut in range(5, 40, 5))


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The way to every value within a snapshot."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *[deeper for key, item in inner for deeper in places(item, (*path, key))]]


def planted(state: dict, path: tuple, value: object) -> object:
    """A copy of `state` with `value` at `path`."""
    if not path:
        return value
    changed = copy.deepcopy(state)
    spot = changed
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    return changed


@pytest.mark.parametrize("wrong", [{}, [1], "x", True, float("nan"), -1.5, 10**400, {"a": None}], ids=repr)
def test_malformed_snapshot_is_refused_and_changes_nothing(wrong: object):
    counter = make_counter()
    run(counter, crowd(3)[:40])
    state = counter.snapshot()
    fresh = make_counter()
    untouched = fresh.snapshot()
    refused = 0
    for path in places(state):
        try:
            fresh.restore(planted(state, path, wrong))
        except SnapshotError:
            refused += 1
            assert fresh.snapshot() == untouched
        else:
            fresh = make_counter()
    assert refused > 0.5 * len(places(state))


@pytest.mark.parametrize("wrong", [None, [], {}, 0, {"version": 1}])
def test_what_is_no_snapshot_is_refused(wrong: object):
    with pytest.raises(SnapshotError):
        make_counter().restore(wrong)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 1),
        (("version",), True),
        (("setup", "lost_s"), 9.0),
        (("setup", "lines", 0, "band"), 0.2),
        (("lines",), []),
        (("seen",), []),
        (("lines", 0, "counts", "forward"), {"person": 0}),
        (("lines", 0, "tracks", 0, "is_right"), 1),
        (("clock", "now_s"), None),
        (("newest", "seq"), 1.5),
        (("more",), 1),
    ],
)
def test_what_is_wrong_in_a_snapshot_is_refused(path: tuple, value: object):
    counter = make_counter()
    run(counter, crowd(3)[:40])
    with pytest.raises(SnapshotError):
        make_counter().restore(planted(counter.snapshot(), path, value))
