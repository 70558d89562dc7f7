import asyncio
import logging

import pytest

from app.core.frame import Frame
from app.pipeline import decode_tuner
from app.pipeline.decode_tuner import read_pool, readings_within, tuned_workers
from app.pipeline.decoder import Decoder, DecoderParameters
from app.policy.workers import MOST, PoolReading, best_reading
from app.vision.example import example_jpeg
from tests.builders import make_encoded, make_spec
from tests.fakes import ManualClock


class Machine:
    """Pools on so many cores; every turn takes a tenth of a second, and those named are disturbed."""

    def __init__(self, *, cores: int, disturbed: frozenset[int] = frozenset()) -> None:
        self.clock = ManualClock()
        self.turns: list[int] = []
        self._cores = cores
        self._disturbed = disturbed

    def measure(self, workers: int) -> PoolReading:
        share = 0.3 if len(self.turns) in self._disturbed else 1.0
        self.turns.append(workers)
        self.clock.now_s += 0.1
        rate = 100 * min(workers, self._cores) * share
        return PoolReading(workers=workers, images_per_s=rate, p99_s=max(1, workers / self._cores) / 100 / share)

    def readings(self, budget_s: float) -> list[PoolReading]:
        return readings_within(budget_s, self.measure, clock=lambda: self.clock.now_s)


def test_the_pool_grows_until_the_cores_are_busy_and_one_step_beyond() -> None:
    machine = Machine(cores=8)
    readings = machine.readings(100.0)
    assert [one.workers for one in readings] == [2, 4, 8, 16]
    assert best_reading(readings).workers == 8


def test_a_larger_pool_is_measured_in_turn_with_the_best_one() -> None:
    machine = Machine(cores=2)
    machine.readings(100.0)
    assert machine.turns == [2, 2, 2, 2, 4, 2, 4, 2, 4]


@pytest.mark.parametrize("disturbed", [{0}, {1, 2}, {3}, {4, 7}, {0, 1, 6}])
def test_turns_that_something_else_disturbed_do_not_change_the_choice(disturbed: set[int]) -> None:
    readings = Machine(cores=4, disturbed=frozenset(disturbed)).readings(100.0)
    assert best_reading(readings).workers == 4


def test_the_search_stops_when_its_time_is_over_and_has_at_least_one_reading() -> None:
    machine = Machine(cores=64)
    assert [one.workers for one in machine.readings(0.0)] == [2]
    assert machine.clock.now_s == pytest.approx(0.1)


def test_a_pool_that_was_not_measured_in_full_is_left_out() -> None:
    machine = Machine(cores=64)
    assert [one.workers for one in machine.readings(0.75)] == [2]
    assert machine.turns == [2, 2, 2, 2, 4, 2, 4, 2]
    assert [one.workers for one in Machine(cores=64).readings(0.85)] == [2, 4]


def test_a_turn_keeps_every_thread_busy_and_counts_every_image() -> None:
    seen: list[int] = []
    reading = read_pool(lambda: seen.append(1), workers=8)
    assert len(seen) == 32
    assert reading.workers == 8
    assert reading.images_per_s > 0
    assert reading.p99_s >= 0


def test_a_decoder_without_a_number_takes_the_tuned_one_and_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    tuned_workers.cache_clear()
    with caplog.at_level(logging.INFO, logger="sightline"):
        decoder = Decoder(make_spec(), DecoderParameters())
        Decoder(make_spec(), DecoderParameters())
    (line,) = [record.getMessage() for record in caplog.records if "decode pool" in record.getMessage()]
    assert 2 <= decoder._stills._max_workers <= MOST
    assert f"{decoder._stills._max_workers} threads" in line
    (frame,) = asyncio.run(decoder.decode([make_encoded(example_jpeg(width_px=320, height_px=240))]))
    assert isinstance(frame, Frame)


def test_a_decoder_with_a_number_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned_workers.cache_clear()
    monkeypatch.setattr(decode_tuner, "example_jpeg", None)
    assert Decoder(make_spec(), DecoderParameters(workers=3))._stills._max_workers == 3
