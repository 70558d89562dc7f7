import random
from collections.abc import Iterable
from statistics import fmean as mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy import source_clock
from app.policy.source_clock import Capture, SourceClock, StampVerdict, envelope_slope

HALF_FRAME_S = 1 / 60
HOUR_S = 3600.0
BEGUN_S = 1.7e9
JUMPS = {StampVerdict.WENT_BACK, StampVerdict.LEAPT_AHEAD, StampVerdict.FELL_BEHIND}

Sight = tuple[float, float, float]
"""When a frame was captured and when it arrived, both in our clock, and its stamp."""


def film(*, drift_ppm: float, seed: int = 1, duration_s: float = HOUR_S, offset_s: float = -5e4) -> list[Sight]:
    """Every tenth frame of 30 Hz over a path of 2 ms, plus 20 ms on average, plus half a second now and then."""
    rng, sights, arrived_s = random.Random(seed), [], BEGUN_S
    for number in range(int(3 * duration_s)):
        captured_s = BEGUN_S + number / 3
        delay_s = 0.002 + rng.expovariate(50) + 0.5 * (rng.random() < 0.02)
        arrived_s = max(arrived_s, captured_s + delay_s)
        sights.append((captured_s, arrived_s, offset_s + (captured_s - BEGUN_S) * (1 + drift_ppm * 1e-6)))
    return sights


def observed(sights: Iterable[Sight], clock: SourceClock | None = None) -> list[Capture]:
    clock = clock or SourceClock()
    return [clock.observe(stamp_s, arrived_s=arrived_s) for _, arrived_s, stamp_s in sights]


def worst_error_s(sights: list[Sight], captures: list[Capture], *, after_s: float = 10.0) -> float:
    """The checker: the largest difference from the truth, from `after_s` seconds of the film on."""
    return max(
        abs(capture.captured_at_s - captured_s)
        for (captured_s, _, _), capture in zip(sights, captures, strict=True)
        if captured_s >= sights[0][0] + after_s
    )


def jumps(captures: list[Capture]) -> list[tuple[int, StampVerdict]]:
    return [(number, capture.verdict) for number, capture in enumerate(captures) if capture.verdict in JUMPS]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("drift_ppm", [-50.0, 0.0, 50.0])
def test_captures_are_right_to_half_a_frame_for_an_hour(drift_ppm: float, seed: int) -> None:
    sights, clock = film(drift_ppm=drift_ppm, seed=seed), SourceClock()
    captures = observed(sights, clock)
    assert worst_error_s(sights, captures) < HALF_FRAME_S
    assert jumps(captures) == []
    assert clock.drift_ppm == pytest.approx(-drift_ppm, abs=10)


class DriftIgnored(SourceClock):
    def _learn(self, sight: source_clock._Sight) -> None:
        super()._learn(sight)
        self._drift, self._offset_s = 0.0, min(delay_s for _, delay_s in self._sights)


class MeanForEnvelope(SourceClock):
    def _learn(self, sight: source_clock._Sight) -> None:
        super()._learn(sight)
        self._offset_s = mean(delay_s - self._drift * stamp_s for stamp_s, delay_s in self._everything(sight))

    def _everything(self, sight: source_clock._Sight) -> list[source_clock._Sight]:
        self._all = [*getattr(self, "_all", [])[-100:], sight]
        return self._all


@pytest.mark.parametrize("planted", [DriftIgnored, MeanForEnvelope])
def test_the_check_of_the_hour_notices_planted_bugs(
    planted: type[SourceClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_clock, "WINDOW_S", 900.0)  # long enough for 50 ppm to grow past half a frame
    sights = film(drift_ppm=-50.0, duration_s=900)
    assert worst_error_s(sights, observed(sights)) < HALF_FRAME_S
    assert worst_error_s(sights, observed(sights, planted())) > HALF_FRAME_S


@pytest.mark.parametrize(
    ("leap_s", "verdict"),
    [
        (HOUR_S, StampVerdict.LEAPT_AHEAD),
        (2.0, StampVerdict.LEAPT_AHEAD),
        (-HOUR_S, StampVerdict.WENT_BACK),
        (-0.5, StampVerdict.WENT_BACK),
    ],
)
def test_a_jump_is_told_once_and_recovered_from(leap_s: float, verdict: StampVerdict) -> None:
    sights = film(drift_ppm=50.0, duration_s=900)
    after = [(captured_s, arrived_s, stamp_s + leap_s) for captured_s, arrived_s, stamp_s in sights[900:]]
    captures = observed([*sights[:900], *after])
    assert jumps(captures) == [(900, verdict)]
    assert worst_error_s(after, captures[900:]) < HALF_FRAME_S
    assert captures[901].verdict is StampVerdict.LEARNING
    assert captures[-1].verdict is StampVerdict.STEADY


def test_a_source_that_paused_has_fallen_behind_once() -> None:
    sights = film(drift_ppm=-50.0, duration_s=900)
    after = [(captured_s + HOUR_S, arrived_s + HOUR_S, stamp_s) for captured_s, arrived_s, stamp_s in sights[900:]]
    captures = observed([*sights[:900], *after])
    assert jumps(captures) == [(900, StampVerdict.FELL_BEHIND)]
    assert worst_error_s(after, captures[900:]) < HALF_FRAME_S


def test_a_stalled_network_is_no_jump_and_moves_nothing() -> None:
    sights = film(drift_ppm=20.0, duration_s=600)
    stalled = [(c, max(a, BEGUN_S + 420.0), s) if c > BEGUN_S + 400 else (c, a, s) for c, a, s in sights]
    captures = observed(stalled)
    assert jumps(captures) == []
    assert worst_error_s(stalled, captures) < HALF_FRAME_S


def test_a_gap_without_frames_is_no_jump() -> None:
    sights = film(drift_ppm=50.0)
    gapped = [*sights[:1800], *sights[-900:]]
    captures = observed(gapped)
    assert jumps(captures) == []
    assert worst_error_s(gapped, captures) < HALF_FRAME_S


def test_a_path_that_became_longer_is_believed_within_the_window() -> None:
    sights = [(c, a + 0.1 * (c > BEGUN_S + 600), s) for c, a, s in film(drift_ppm=0.0, duration_s=1200)]
    late_s = [a - capture.captured_at_s for (_, a, _), capture in zip(sights, observed(sights), strict=True)]
    assert min(late_s[1810:1900]) > 0.05
    assert min(late_s[-300:]) < 0.01


@pytest.mark.parametrize("stamp_s", [None, float("nan"), float("inf")])
def test_frames_without_stamps_count_as_captured_when_they_arrived(stamp_s: float | None) -> None:
    clock = SourceClock()
    captures = [clock.observe(stamp_s, arrived_s=number / 30) for number in range(9)]
    assert captures == [Capture(number / 30, StampVerdict.MISSING) for number in range(9)]


def test_a_missing_stamp_does_not_disturb_the_model() -> None:
    sights = film(drift_ppm=50.0, duration_s=300)
    clock, captures = SourceClock(), []
    for number, (_, arrived_s, stamp_s) in enumerate(sights):
        captures.append(clock.observe(stamp_s if number % 4 else None, arrived_s=arrived_s))
    assert jumps(captures) == []
    assert [capture.verdict for capture in captures[:8:4]] == [StampVerdict.MISSING] * 2


def test_the_first_frame_was_captured_when_it_arrived_and_an_unhindered_one_corrects_that() -> None:
    clock = SourceClock()
    assert clock.observe(100.0, arrived_s=5.5) == Capture(5.5, StampVerdict.LEARNING)
    assert clock.observe(101.0, arrived_s=6.0) == Capture(6.0, StampVerdict.LEARNING)
    assert clock.observe(102.0, arrived_s=7.3) == Capture(7.0, StampVerdict.LEARNING)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(-1e6, 1e6), st.floats(allow_nan=True))), max_size=60
    )
)
def test_captures_never_go_back_nor_lie_after_the_arrival(
    steps: list[tuple[float, float | None]],
) -> None:
    clock, arrived_s, before_s = SourceClock(), 0.0, float("-inf")
    for step_s, stamp_s in steps:
        arrived_s += step_s
        captured_s = clock.observe(stamp_s, arrived_s=arrived_s).captured_at_s
        assert before_s <= captured_s <= arrived_s
        before_s = captured_s


def test_memory_is_bounded_by_the_window() -> None:
    clock = SourceClock()
    observed(film(drift_ppm=50.0), clock)
    assert len(clock._sights) <= source_clock.WINDOW_S / source_clock.BUCKET_S + 1


@given(ys=st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_the_slope_is_that_of_the_line_below_all_points_with_the_least_summed_distance(ys: list[int]) -> None:
    points = [(float(x), float(y)) for x, y in enumerate(ys)]

    def distance(slope: float) -> float:
        return sum(y - slope * x for x, y in points) - len(points) * min(y - slope * x for x, y in points)

    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a in points for b in points if a[0] < b[0]]
    assert distance(envelope_slope(points)) == pytest.approx(min(map(distance, slopes)), abs=1e-9)
