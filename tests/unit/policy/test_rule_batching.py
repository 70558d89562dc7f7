import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.policy.batch_policy import Item
from app.policy.rule_batching import (
    LARGE,
    SMALL,
    RuleParameters,
    Setting,
    formula_001,
    formula_policy,
    state_machine_001,
    state_machine_policy,
)
from load_tests.batcher_checks import violations
from load_tests.batcher_simulation import simulate
from tests.unit.policy import batching
from tests.unit.policy.batching import ENGINE, arrivals, item, numbers

FORMULA = [
    # p99_rt_ms, qps, batch. Worked by hand from the row: int(1000 / max(1, p99)) * (qps // 1000 + 1), within 1..128.
    (0.0, 0, 128),
    (0.5, 999, 128),
    (1.0, 0, 128),
    (7.0, 0, 128),
    (8.0, 0, 125),
    (10.0, 0, 100),
    (10.0, 999, 100),
    (10.0, 1000, 128),
    (15.0, 0, 66),
    (100.0, 0, 10),
    (100.0, 8500, 90),
    (100.0, 12000, 128),
    (333.0, 2000, 9),
    (501.0, 0, 1),
    (999.0, 5000, 6),
    (1000.0, 0, 1),
    (1000.0, 127000, 128),
    (1000.1, 0, 1),
    (1001.0, 1_000_000, 1),
    (60000.0, 9000, 1),
]

STATE_MACHINE = [
    # qps, p99_s, batch, whether connections are shared
    (0.0, 0.0, 128, False),
    (7999.0, 0.0149, 128, False),
    (8000.0, 0.0149, 128, False),
    (8000.5, 0.0149, 128, True),
    (8500.0, 0.015, 32, True),
    (8500.0, 0.024, 32, True),
    (100.0, 0.015, 32, False),
    (100.0, 9.0, 32, False),
]


@pytest.mark.parametrize(("p99_rt_ms", "qps", "batch"), FORMULA)
def test_formula_001_gives_what_row_49_says(p99_rt_ms: float, qps: float, batch: int) -> None:
    assert formula_001(p99_rt_ms, qps) == batch


@given(p99_rt_ms=st.floats(0, 1e5), qps=st.integers(0, 10**6))
def test_formula_001_is_the_row_word_for_word_and_its_second_cap_is_never_reached(p99_rt_ms: float, qps: int) -> None:
    base = max(1, min(128, int(1000 / max(1, p99_rt_ms)) * (qps // 1000 + 1)))
    assert formula_001(p99_rt_ms, qps) == min(256, base) == base


@pytest.mark.parametrize(("qps", "p99_s", "batch", "shares"), STATE_MACHINE)
def test_state_machine_001_sets_what_row_50_says(qps: float, p99_s: float, batch: int, *, shares: bool) -> None:
    assert state_machine_001(qps=qps, p99_s=p99_s) == Setting(batch=batch, shares_connections=shares)


@pytest.mark.parametrize(
    ("before", "p99_s", "batch"),
    [(LARGE, 0.0179, LARGE), (LARGE, 0.0181, SMALL), (SMALL, 0.0121, SMALL), (SMALL, 0.0119, LARGE)],
)
def test_hysteresis_keeps_what_was_set_until_the_threshold_is_left_behind(
    before: int, p99_s: float, batch: int
) -> None:
    setting = Setting(batch=before, shares_connections=True)
    assert state_machine_001(qps=9000, p99_s=p99_s, before=setting, hysteresis=0.2).batch == batch


def test_a_batch_leaves_when_it_has_the_size_of_the_rule() -> None:
    made = formula_policy(RuleParameters(first=3, max_wait_s=0.05))
    for number in range(2):
        made.offer(item(number))
    assert made.cut(0.01).wake_s == pytest.approx(0.05)
    made.offer(item(2))
    assert numbers(made.cut(0.01)) == [0, 1, 2]


def test_a_batch_leaves_when_its_oldest_waited_long_enough() -> None:
    made = formula_policy(RuleParameters(first=3, max_wait_s=0.05))
    made.offer(item(0))
    assert numbers(made.cut(0.05)) == [0]
    assert made.waiting_images == 0


def test_the_rule_is_asked_once_a_window_and_not_before() -> None:
    made = state_machine_policy(RuleParameters(window_s=1.0))
    one = item(0, arrived_s=0.0)
    made.offer(one)
    made.cut(0.05)
    made.observe([one], started_s=0.05, ended_s=0.9)
    assert made.batch_size == SMALL
    made.observe([item(1, arrived_s=0.999)], started_s=0.999, ended_s=1.0)
    assert made.batch_size == SMALL  # the 0.9 s of the first are the window's p99
    made.observe([item(2, arrived_s=1.999)], started_s=1.999, ended_s=2.0)
    assert made.batch_size == LARGE


def test_a_rule_ends_hard_deadlines_and_forgets_who_left() -> None:
    made = formula_policy()
    for number in range(3):
        made.offer(item(number, due_s=0.01, is_hard=number == 0))
    assert made.withdraw(1)
    cut = made.cut(0.06)
    assert ([one.number for one in cut.expired], numbers(cut)) == ([0], [2])
    assert made.displace(item(9)) is None


@given(sent=arrivals(), lanes=st.integers(1, 3), makes=st.sampled_from([formula_policy, state_machine_policy]))
@settings(max_examples=40, deadline=None)
def test_rules_lose_nobody_and_break_no_bucket(sent: list[Item], lanes: int, makes: object) -> None:
    assert callable(makes)
    run = simulate(makes(), sent, takes_s=ENGINE.seconds, lanes=lanes, max_images=40)
    assert violations(run, longest_wait_s=2.0) == []


def test_a_number_waits_once_and_fits_its_bucket() -> None:
    made = formula_policy()
    made.offer(item(0))
    with pytest.raises(ValueError, match="waits already"):
        made.offer(item(0))
    with pytest.raises(ValueError, match="do not fit"):
        made.offer(item(1, images=5, bucket=batching.LARGE))
