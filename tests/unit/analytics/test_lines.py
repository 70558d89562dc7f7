import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.analytics import lines
from app.analytics.counting import StreamCounter
from app.analytics.geometry import Segment
from app.analytics.lines import Line
from app.core.errors import InvalidParameterError
from app.core.result import Direction
from tests.unit.analytics.paths import LABELS, film, make_line, make_tracks, on, run, times, told, wander

RIGHT = [(0.0, 300.0, 500.0), (4.0, 700.0, 500.0)]
SHORT = {"start": (0.5, 0.6), "end": (0.5, 0.4)}


def directions(knots: list, **line: object) -> list[str]:
    return [event.direction for event in on(knots, line=make_line(**line))]


def crossings_of_jitter(*, spread_px: float, band: float) -> int:
    """How often a box that stands on the line for 100 s at 30 frames a second is told to cross it."""
    chance = random.Random(1)
    frames = [make_tracks(number / 30, {1: (500 + chance.gauss(0, spread_px), 500)}) for number in range(3000)]
    return len(run(StreamCounter([make_line(band=band)], []), frames))


def test_left_to_right_is_forward_at_the_time_on_the_line():
    (event,) = on(RIGHT, line=make_line())
    assert (event.line, event.track_id, event.label, event.direction) == ("gate", 1, "person", Direction.FORWARD)
    assert event.at_s == pytest.approx(2.0)
    assert event.ref.pts_s == pytest.approx(2.0 + 0.1, abs=1 / 30 + 1e-9)


@pytest.mark.parametrize("fps", [30.0, 10.0, 7.3, 0.7])
def test_time_of_crossing_does_not_follow_the_frame_rate(fps: float):
    assert [event.at_s for event in on(RIGHT, fps=fps, line=make_line())] == pytest.approx([2.0])


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ([300, 700], ["forward"]),
        ([700, 300], ["backward"]),
        ([300, 700, 300], ["forward", "backward"]),
        ([300, 505, 300], []),
        ([300, 495, 505, 496, 700], ["forward"]),
        ([495, 700], []),
        ([495, 700, 300], ["backward"]),
        ([300, 500], []),
    ],
    ids=["over", "back", "there-and-back", "touch", "dither", "born-on-it", "born-on-it-then-both", "ends-on-it"],
)
def test_sides_decide(xs: list[float], expected: list[str]):
    assert directions([(2.0 * number, float(x), 500.0) for number, x in enumerate(xs)]) == expected


def test_jump_over_the_whole_line_counts():
    frames = [make_tracks(0.0, {1: (100, 500)}), make_tracks(1.0, {1: (900, 500)})]
    assert [event.at_s for event in run(StreamCounter([make_line()], []), frames)] == [0.5]


def test_way_around_the_end_of_a_line_counts_once():
    beside = [(0.0, 300.0, 900.0), (2.0, 700.0, 900.0), (4.0, 700.0, 500.0)]
    assert directions(beside, **SHORT) == []
    assert directions([*beside, (6.0, 300.0, 500.0)], **SHORT) == ["backward"]


def test_jitter_on_a_line_counts_nothing_but_without_a_band_it_does():
    assert crossings_of_jitter(spread_px=2.0, band=lines.DEFAULT_BAND) == 0
    assert crossings_of_jitter(spread_px=2.0, band=0.0) > 1000


def test_counts_are_by_direction_and_class():
    counter = StreamCounter([make_line()], [])
    for seq, x in enumerate([300, 700, 300]):
        frame = make_tracks(float(seq), {1: (x, 500), 2: (x, 300), 3: (1000 - x, 200)}, labels={3: 1})
        counter.update(frame, LABELS)
    expected = {"forward": {"person": 2, "car": 1}, "backward": {"car": 1, "person": 2}}
    assert counter.lines[0].counts == expected


def test_unconfirmed_tracks_are_not_counted():
    frames = [make_tracks(0.0, {-1: (100, 500)}), make_tracks(1.0, {-1: (900, 500)})]
    assert run(StreamCounter([make_line()], []), frames) == []


@pytest.mark.parametrize("knobs", [{"band": 1.0}, {"band": -0.1}, {"band": float("nan")}, {"name": ""}])
def test_bad_line_is_refused(knobs: dict):
    with pytest.raises(InvalidParameterError):
        Line(**({"name": "a", "segment": Segment(start=(0, 0), end=(1, 1))} | knobs))


def obvious_crossings(samples: list, line: Line) -> list[tuple[str, float]]:
    """The definition, in the plane of complex numbers: along the line is real, to its right is imaginary."""
    start, end = complex(*line.segment.start) * 1000, complex(*line.segment.end) * 1000
    clear, found = [], []
    for at_s, x, y in samples:
        turned = (complex(x, y) - start) / (end - start)
        if abs(turned.imag) * abs(end - start) > line.band * 100:
            clear.append((at_s, turned))
    for (t1, w1), (t2, w2) in pairwise(clear):
        if w1.imag * w2.imag < 0:
            share = w1.imag / (w1.imag - w2.imag)
            along = w1.real + share * (w2.real - w1.real)
            found += [("forward" if w2.imag > 0 else "backward", t1 + share * (t2 - t1))] * (0 <= along <= 1)
    return found


def compare(seed: int) -> bool:
    """Whether the counter and the definition say the same of one random walk past one random line."""
    chance = random.Random(seed)
    ends = [(chance.random(), chance.random()) for _ in range(2)]
    line = make_line(start=ends[0], end=ends[1], band=chance.choice([0.0, 0.1, 0.5]))
    knots = wander(seed, count=40, step_s=lambda c: c.uniform(0.02, 0.6))
    frames = film({1: knots}, [at_s for at_s, _, _ in knots])
    samples = [(at_s, np.float32(x - 20) / 2 + np.float32(x + 20) / 2, np.float32(y)) for at_s, x, y in knots]
    events = [(event.direction, event.at_s) for event in run(StreamCounter([line], []), frames)]
    expected = obvious_crossings([tuple(map(float, sample)) for sample in samples], line)
    return [d for d, _ in events] == [d for d, _ in expected] and np.allclose(
        [t for _, t in events], [t for _, t in expected], atol=1e-6
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_counter_agrees_with_the_definition(seed: int):
    assert compare(seed)


def test_comparison_finds_planted_bugs(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(lines, "signed_distances", lambda points, line: -real_distances(points, line))
        assert not all(compare(seed) for seed in range(20))
    with monkeypatch.context() as patch:
        patch.setattr(lines, "crossing_shares", lambda _, segments: np.full((1, len(segments)), 0.5))
        assert not all(compare(seed) for seed in range(20))
    assert all(compare(seed) for seed in range(20))


real_distances = lines.signed_distances


@pytest.mark.parametrize(("fps", "dropped"), [(30, 0.0), (15, 0.0), (10, 0.0), (7.5, 0.0), (30, 0.2), (7.5, 0.2)])
def test_count_does_not_follow_the_frame_rate(fps: float, dropped: float):
    script = {
        1: RIGHT,
        2: [(0.5, 700.0, 300.0), (2.0, 400.0, 300.0), (3.0, 400.0, 300.0), (4.5, 800.0, 350.0)],
        3: [(0.0, 300.0, 700.0), (3.0, 505.0, 700.0), (6.0, 505.0, 600.0), (8.0, 300.0, 700.0)],
        4: [(1.0, 200.0, 200.0), (1.8, 900.0, 800.0), (2.6, 100.0, 900.0), (4.0, 100.0, 100.0)],
    }
    frames = film(script, times(fps=fps, until_s=9.0, dropped=dropped, seed=3))
    ways = {(1, "forward"): 1, (2, "backward"): 1, (2, "forward"): 1, (4, "forward"): 1, (4, "backward"): 1}
    expected = {("LineCrossed", track_id, way): count for (track_id, way), count in ways.items()}
    assert told(run(StreamCounter([make_line()], []), frames)) == expected
