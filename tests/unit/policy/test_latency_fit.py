import math
import random

from hypothesis import assume, given
from hypothesis import strategies as st

from app.policy.latency_fit import MAX_TAIL, WINDOW, Latency, LatencyFit

SECONDS = st.floats(1e-5, 0.1)
SIZES = st.lists(st.integers(1, 128), min_size=40, max_size=60)


def fitted(engine: Latency, sizes: list[int], *, prior: Latency | None = None) -> LatencyFit:
    fit = LatencyFit() if prior is None else LatencyFit(prior)
    for images in sizes:
        fit.observe(images, engine.seconds(images))
    return fit


def test_before_the_first_batch_the_prior_is_believed() -> None:
    prior = Latency(each_s=0.002, base_s=0.01)
    assert LatencyFit(prior).line == prior
    assert math.isclose(LatencyFit(prior).seconds(5), 0.02)


@given(each_s=SECONDS, base_s=SECONDS, sizes=SIZES)
def test_an_engine_that_keeps_to_a_line_is_learned_exactly(each_s: float, base_s: float, sizes: list[int]) -> None:
    commonest = sorted(sizes[-WINDOW:])
    assume(sum(size != commonest[(len(commonest) - 1) // 2] for size in commonest) >= 6)
    fit = fitted(Latency(each_s=each_s, base_s=base_s), sizes)
    for images in (1, 7, 128):
        assert math.isclose(fit.seconds(images), each_s * images + base_s, rel_tol=1e-3)


@given(seed=st.integers(0, 1000))
def test_one_batch_in_five_that_hangs_does_not_move_the_line(seed: int) -> None:
    chance = random.Random(seed)
    engine = Latency(each_s=0.001, base_s=0.004)
    fit = LatencyFit()
    for index in range(2 * WINDOW):
        images = chance.randint(1, 16)
        slow = 20.0 if index % 5 == 0 else 1.0
        fit.observe(images, slow * engine.seconds(images) * chance.uniform(0.98, 1.02))
    for images in (1, 8, 16):
        assert math.isclose(fit.seconds(images), engine.seconds(images), rel_tol=0.15)


@given(
    observations=st.lists(
        st.tuples(st.integers(-2, 200), st.floats(-1, 1e3) | st.just(math.nan) | st.just(math.inf)), max_size=80
    )
)
def test_no_observation_makes_it_say_less_than_nothing(observations: list[tuple[int, float]]) -> None:
    fit = LatencyFit()
    for images, elapsed_s in observations:
        fit.observe(images, elapsed_s)
    assert fit.line.each_s >= 0
    assert fit.line.base_s >= 0
    assert math.isfinite(fit.safe_seconds(64))
    assert 1 <= fit.tail <= MAX_TAIL


@given(images=st.integers(1, 64), elapsed_s=SECONDS)
def test_one_size_alone_is_known_and_the_others_follow_in_the_ratio_of_the_prior(images: int, elapsed_s: float) -> None:
    prior = Latency(each_s=0.001, base_s=0.003)
    fit = LatencyFit(prior)
    for _ in range(20):
        fit.observe(images, elapsed_s)
    assert math.isclose(fit.seconds(images), elapsed_s, rel_tol=1e-6)
    assert math.isclose(fit.line.base_s, 3 * fit.line.each_s, rel_tol=1e-6)


def test_what_was_learned_of_other_sizes_stays_when_only_one_is_seen_for_long() -> None:
    engine = Latency(each_s=0.001, base_s=0.02)
    fit = fitted(engine, [1, 2, 4, 8] * 12)
    for _ in range(2 * WINDOW):
        fit.observe(8, engine.seconds(8))
    for _ in range(WINDOW):
        fit.observe(8, 2 * engine.seconds(8))  # and now the device is throttled
    assert math.isclose(fit.seconds(1), 2 * engine.seconds(1), rel_tol=1e-3)


def test_a_machine_that_changes_its_speed_is_followed_within_a_window() -> None:
    fit = fitted(Latency(each_s=0.001, base_s=0.01), [1, 2, 4, 8] * 20)
    slower = Latency(each_s=0.003, base_s=0.02)
    for images in [1, 2, 4, 8] * (WINDOW // 4):
        fit.observe(images, slower.seconds(images))
    assert math.isclose(fit.seconds(8), slower.seconds(8), rel_tol=0.01)


@given(each_s=SECONDS, base_s=SECONDS, within_s=st.floats(0, 1))
def test_the_largest_batch_within_a_time_is_done_in_it_and_a_larger_one_is_not(
    each_s: float, base_s: float, within_s: float
) -> None:
    fit = LatencyFit(Latency(each_s=each_s, base_s=base_s))
    most = fit.most_images(within_s)
    assert most == 0 or fit.safe_seconds(most) <= within_s + 1e-6
    assert fit.safe_seconds(most + 1) > within_s - 1e-6


def test_the_safe_time_covers_nine_batches_of_ten() -> None:
    chance = random.Random(4)
    engine = Latency(each_s=0.001, base_s=0.005)
    fit = LatencyFit()
    seen = [(size, engine.seconds(size) * chance.uniform(1, 1.5)) for size in [1, 2, 4, 8] * 12]
    for images, elapsed_s in seen:
        fit.observe(images, elapsed_s)
    assert sum(elapsed_s <= fit.safe_seconds(images) + 1e-9 for images, elapsed_s in seen) >= 0.85 * len(seen)
    assert fit.tail > 1.05
