import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.analytics import zones
from app.analytics.counting import StreamCounter
from app.analytics.events import ZoneDwell, ZoneEntered, ZoneLeft
from app.analytics.geometry import Polygon
from app.analytics.zones import Zone
from app.core.errors import InvalidParameterError
from tests.unit.analytics.paths import film, make_tracks, make_zone, on, run, times, told, wander

VISIT = [(0.0, 500.0, 500.0), (1.0, 700.0, 500.0), (4.0, 700.0, 500.0), (5.0, 500.0, 500.0), (9.0, 500.0, 500.0)]
"""Over the left edge, x = 600, at 0.5 s and back at 4.5 s."""


def brief(events: list) -> list[tuple]:
    return [(type(event), round(event.at_s, 6)) for event in events]


@pytest.mark.parametrize("fps", [30.0, 7.3, 2.1])
def test_visit_enters_dwells_and_leaves_in_true_time(fps: float):
    events = on(VISIT, fps=fps, zone=make_zone(dwell_s=2.0))
    assert [type(event) for event in events] == [ZoneEntered, ZoneDwell, ZoneLeft]
    assert [event.at_s for event in events] == pytest.approx([0.5, 2.5, 4.5], abs=0.3 / fps)
    assert events[1].dwell_s == 2.0
    assert events[2].dwell_s == events[2].at_s - events[0].at_s
    assert {event.zone for event in events} == {"yard"}


@pytest.mark.parametrize(("inside_s", "count"), [(0.3, 0), (0.7, 1)])
@pytest.mark.parametrize("frames", [2, 3, 5, 60])
def test_walk_through_counts_from_settle_time_on_at_any_frame_rate(inside_s: float, count: int, frames: int):
    through = [(0.0, 450.0, 500.0), (2 * inside_s, 1050.0 - 1, 500.0)]
    sampled = film({1: through}, np.linspace(0, 2 * inside_s, frames).tolist())
    assert told(run(StreamCounter([], [make_zone()]), sampled))["ZoneEntered", 1, ""] == count


@pytest.mark.parametrize("away_s", [0.4, 0.6])
def test_short_absence_does_not_end_a_stay(away_s: float):
    out = [(0.0, 700.0, 500.0), (2.0, 700.0, 500.0), (2.01, 590.0, 500.0), (2.0 + away_s, 590.0, 500.0)]
    knots = [*out, (2.01 + away_s, 700.0, 500.0), (5.0, 700.0, 500.0)]
    expected = [ZoneEntered, ZoneLeft] * (2 if away_s > 0.5 else 1)
    assert [kind for kind, _ in brief(on(knots, fps=100.0, zone=make_zone()))] == expected


def test_jitter_on_an_edge_tells_nothing_but_without_settling_it_does():
    chance = random.Random(5)
    knots = [(number / 30, 600 + chance.gauss(0, 3), 500.0) for number in range(600)]
    assert on(knots, zone=make_zone()) == []
    assert len(on(knots, zone=make_zone(settle_s=0.0))) > 100


def test_lost_track_leaves_when_it_was_last_seen():
    frames = [make_tracks(at_s, {1: (700, 500)} if at_s <= 2 else {}) for at_s in np.arange(0, 6, 0.5).tolist()]
    events = run(StreamCounter([], [make_zone()]), frames)
    assert brief(events) == [(ZoneEntered, 0.0), (ZoneLeft, 2.0)]
    assert events[1].dwell_s == 2.0
    assert events[1].ref.pts_s == 4.5


def test_track_lost_just_outside_left_when_it_went_out():
    frames = [make_tracks(0.0, {1: (700, 500)}), make_tracks(1.0, {1: (700, 500)}), make_tracks(1.2, {1: (500, 500)})]
    events = run(StreamCounter([], [make_zone()]), [*frames, make_tracks(9.0, {})])
    assert brief(events) == [(ZoneEntered, 0.0), (ZoneLeft, 1.1)]


def test_dwell_is_told_once_a_stay():
    again = [*VISIT[:-1], *[(at_s + 7, x, y) for at_s, x, y in VISIT]]
    kinds = [kind for kind, _ in brief(on(again, zone=make_zone(dwell_s=1.0)))]
    assert kinds == [ZoneEntered, ZoneDwell, ZoneLeft] * 2


def test_dwell_of_a_stay_that_ends_between_two_frames_is_told():
    frames = [make_tracks(0.0, {1: (700, 500)}), make_tracks(1.9, {1: (400, 500)})]
    zone = make_zone(settle_s=0.0, dwell_s=0.5)
    events = [kind for kind, _ in brief(run(StreamCounter([], [zone]), frames))]
    assert events == [ZoneEntered, ZoneDwell, ZoneLeft]


def test_occupancy_distinct_tracks_and_dwell_are_by_track_and_class():
    counter = StreamCounter([], [make_zone()])
    for at_s in np.arange(0, 3.1, 0.5).tolist():
        where = {1: (700, 500), 2: (650 if at_s < 1.2 else 100, 500), 3: (800, 300), 4: (100, 100)}
        run_labels = {3: 1}
        counter.update(make_tracks(at_s, where, labels=run_labels), ("person", "car"))
    (zone,) = counter.zones
    assert zone.occupancy == {"person": 1, "car": 1}
    assert zone.distinct == {"person": 2, "car": 1}
    assert zone.dwell_s == {1: 3.0, 3: 3.0}


def test_returning_track_is_one_distinct_track():
    counter = StreamCounter([], [make_zone()])
    twice = [*VISIT[:-1], *[(at_s + 7, x, y) for at_s, x, y in VISIT]]
    assert told(run(counter, film({1: twice}, times(fps=10, until_s=16))))["ZoneEntered", 1, ""] == 2
    assert counter.zones[0].distinct == {"person": 1}


def test_box_at_the_rim_of_the_picture_is_in_a_zone_that_ends_there():
    whole = Zone(name="all", polygon=Polygon(corners=((0, 0), (1, 0), (1, 1), (0, 1))), settle_s=0.0)
    assert len(run(StreamCounter([], [whole]), [make_tracks(0.0, {1: (1000, 1000)})])) == 1


@pytest.mark.parametrize(
    "knobs", [{"settle_s": -1.0}, {"settle_s": float("nan")}, {"dwell_s": 0.0}, {"dwell_s": float("inf")}, {"name": ""}]
)
def test_bad_zone_is_refused(knobs: dict):
    with pytest.raises(InvalidParameterError):
        Zone(**({"name": "z", "polygon": Polygon(corners=((0, 0), (1, 0), (1, 1)))} | knobs))


Visits = list[tuple[str, float]]


def obvious_visits(knots: list, *, settle_s: float, wider_px: float = 0.0, tick_s: float = 0.002) -> Visits:
    """Every moment asked in turn: inside or not, and for how long already."""
    is_settled, since_s, was_in, found = False, 0.0, None, []
    times_s, xs, ys = zip(*knots, strict=True)
    ticks_s = np.arange(0, times_s[-1], tick_s)
    x, y = np.interp(ticks_s, times_s, xs), np.interp(ticks_s, times_s, ys)
    inside = (np.abs(x - 750) < 150 + wider_px) & (np.abs(y - 500) < 300 + wider_px)
    for at_s, is_in in zip(ticks_s.tolist(), inside.tolist(), strict=True):
        since_s, was_in = (since_s if is_in == was_in else at_s), is_in
        if is_in != is_settled and at_s - since_s >= settle_s:
            is_settled = is_in
            found.append(("ZoneEntered" if is_in else "ZoneLeft", since_s))
    return found


def is_same(mine: Visits, other: Visits) -> bool:
    """Whether the same happened, up to what the reference's steps and a shifted edge do to the times."""
    same_kinds = [kind for kind, _ in mine] == [kind for kind, _ in other]
    return same_kinds and bool(np.allclose([t for _, t in mine], [t for _, t in other], rtol=0, atol=0.05))


def agreement(seed: int) -> bool | None:
    """Whether counter and definition agree on a random walk; None where a hair more or less decides."""
    knots = wander(seed, count=12, step_s=lambda chance: chance.uniform(0.1, 1.5))
    expected = obvious_visits(knots, settle_s=0.5)
    nearly = [obvious_visits(knots, settle_s=settle_s) for settle_s in (0.49, 0.51)]
    nearly += [obvious_visits(knots, settle_s=0.5, wider_px=wider_px) for wider_px in (-8, 8)]
    if not all(is_same(expected, other) for other in nearly):
        return None
    events = run(StreamCounter([], [make_zone()]), film({1: knots}, [at_s for at_s, _, _ in knots]))
    return is_same([(type(event).__name__, event.at_s) for event in events], expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_counter_agrees_with_the_definition(seed: int):
    assert agreement(seed) is not False


def test_comparison_finds_planted_bugs(monkeypatch: pytest.MonkeyPatch):
    assert {agreement(seed) for seed in range(15)} == {True, None}
    with monkeypatch.context() as patch:
        patch.setattr(zones, "_pieces", lambda *_, **__: ())
        assert False in {agreement(seed) for seed in range(15)}
    with monkeypatch.context() as patch:
        patch.setattr(zones, "contains", lambda corners, points: (points > corners.min(axis=0)).all(axis=1))
        assert False in {agreement(seed) for seed in range(15)}


@pytest.mark.parametrize(("fps", "dropped"), [(30, 0.0), (15, 0.0), (10, 0.0), (7.5, 0.0), (30, 0.2), (7.5, 0.2)])
def test_count_does_not_follow_the_frame_rate(fps: float, dropped: float):
    script = {
        1: VISIT,
        2: [(0.3, 700.0, 100.0), (3.3, 700.0, 900.0), (6.3, 700.0, 100.0)],
        3: [(0.0, 500.0, 600.0), (1.0, 620.0, 600.0), (1.3, 580.0, 600.0), (7.0, 400.0, 600.0)],
        4: [(2.0, 800.0, 300.0), (8.0, 700.0, 700.0)],
    }
    counter = StreamCounter([], [make_zone(dwell_s=2.5)])
    frames = film(script, times(fps=fps, until_s=9.0, dropped=dropped, seed=11))
    counts = told(run(counter, [*frames, make_tracks(20.0, {})]))
    entered, dwelt = {1: 1, 2: 2, 4: 1}, {1: 1, 4: 1}
    expected = Counter({("ZoneEntered", track_id, ""): count for track_id, count in entered.items()})
    expected += Counter({("ZoneLeft", track_id, ""): count for track_id, count in entered.items()})
    expected += Counter({("ZoneDwell", track_id, ""): count for track_id, count in dwelt.items()})
    assert counts == expected
    assert counter.zones[0].distinct == {"person": 3}
    assert counter.zones[0].occupancy == {}
