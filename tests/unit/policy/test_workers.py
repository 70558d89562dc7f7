import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.workers import FEWEST, MOST, PoolReading, best_reading, next_workers


def reading(workers: int, *, images_per_s: float = 100.0, p99_s: float = 0.01) -> PoolReading:
    return PoolReading(workers=workers, images_per_s=images_per_s, p99_s=p99_s)


def machine(cores: int, *, drag: float = 0.0, noise: Callable[[int], float] = lambda _: 1.0) -> list[PoolReading]:
    """Every pool on a machine with so many cores, where each thread beyond them costs `drag` of the throughput."""
    sizes = [2**power for power in range(1, 7)]
    return [
        reading(
            size,
            images_per_s=100 * min(size, cores) * (1 - drag) ** max(0, size - cores) * noise(size),
            p99_s=0.01 * max(1.0, size / cores),
        )
        for size in sizes
    ]


def searched(curve: list[PoolReading]) -> list[PoolReading]:
    """The readings that a search along the policy takes."""
    by_size = {one.workers: one for one in curve}
    taken: list[PoolReading] = []
    while (workers := next_workers(taken)) is not None:
        taken.append(by_size[workers])
    return taken


POWERS = st.sampled_from([2, 4, 8, 16, 32, 64])


@given(cores=POWERS, drag=st.floats(0.0, 0.05))
def test_the_top_of_the_curve_is_found_and_the_search_goes_one_step_beyond_it(cores: int, drag: float) -> None:
    taken = searched(machine(cores, drag=drag))
    assert best_reading(taken).workers == cores
    assert taken[-1].workers == min(2 * cores, MOST)


@given(cores=POWERS, drag=st.floats(0.0, 0.05), seed=st.randoms(use_true_random=False))
def test_noise_of_four_percent_changes_nothing(cores: int, drag: float, seed: random.Random) -> None:
    noisy = machine(cores, drag=drag, noise=lambda _: seed.uniform(0.96, 1.04))
    assert best_reading(searched(noisy)).workers == cores


@given(rates=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=6), p99s=st.lists(st.floats(1e-4, 1.0), min_size=6))
def test_any_curve_ends_the_search_with_one_of_its_own_pools(rates: list[float], p99s: list[float]) -> None:
    curve = [reading(2 ** (index + 1), images_per_s=(rates * 6)[index], p99_s=p99s[index]) for index in range(6)]
    taken = searched(curve)
    assert FEWEST <= best_reading(taken).workers <= MOST
    assert best_reading(taken) in taken


@given(curve=st.permutations(machine(8)))
def test_the_order_of_the_readings_does_not_matter(curve: list[PoolReading]) -> None:
    assert best_reading(curve).workers == 8


def test_ties_go_to_the_smaller_pool() -> None:
    assert best_reading([reading(2), reading(4), reading(8)]).workers == 2


def test_a_step_that_is_flat_but_makes_nobody_wait_is_walked_over() -> None:
    flat_then_better = [reading(2), reading(4, images_per_s=105.0), reading(8, images_per_s=150.0)]
    assert best_reading(flat_then_better).workers == 8


def test_what_comes_behind_a_rise_of_p99_without_throughput_is_not_believed() -> None:
    lucky_late = [reading(2), reading(4, p99_s=0.02), reading(8, images_per_s=400.0)]
    assert best_reading(lucky_late).workers == 2
    assert next_workers(lucky_late) is None


def test_more_throughput_is_worth_a_longer_wait() -> None:
    assert best_reading([reading(2), reading(4, images_per_s=130.0, p99_s=0.02)]).workers == 4


def test_the_table_of_row_8_has_its_optimum_at_sixteen() -> None:
    # Source: MISSION.md row 8, mean and P99 of 4, 16 and 64 workers; a busy pool of n does n images per mean latency.
    table = [
        reading(4, images_per_s=4 / 0.0182, p99_s=0.0426),
        reading(16, images_per_s=16 / 0.0182, p99_s=0.0281),
        reading(64, images_per_s=16 / 0.0182 * 0.97, p99_s=0.0569),
    ]
    assert best_reading(table).workers == 16


def test_a_search_begins_with_the_fewest_and_a_choice_needs_a_reading() -> None:
    assert next_workers([]) == FEWEST
    with pytest.raises(ValueError, match="at least one reading"):
        best_reading([])
