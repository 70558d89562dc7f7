"""The plan of the cuts is the best there is."""

from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.cuts import CutCosts, choose_cuts

PIECES = st.lists(st.integers(0, 50), min_size=1, max_size=8)


def slowest_and_bytes(
    flops: Sequence[int], crossing: Sequence[int], cuts: Sequence[int], rate: float
) -> tuple[float, int]:
    """The cost of a plan's slowest stage, and all bytes across."""
    edges = [0, *(cut + 1 for cut in cuts), len(flops)]
    passed = [0, *(crossing[cut] for cut in cuts), 0]
    stages = [
        sum(flops[begin:end]) + rate * (passed[rank] + passed[rank + 1])
        for rank, (begin, end) in enumerate(pairwise(edges))
    ]
    return max(stages), sum(passed)


@given(PIECES, st.data())
def test_no_plan_is_better(flops: list[int], data: st.DataObject) -> None:
    crossing = data.draw(st.lists(st.integers(0, 20), min_size=len(flops) - 1, max_size=len(flops) - 1))
    stages = data.draw(st.integers(1, len(flops)))
    rate = data.draw(st.sampled_from([0.0, 0.5, 3.0]))
    slack = data.draw(st.sampled_from([0.0, 0.25]))
    plans = [slowest_and_bytes(flops, crossing, cuts, rate) for cuts in combinations(range(len(flops) - 1), stages - 1)]
    limit = min(slowest for slowest, _ in plans) * (1.0 + slack)
    fewest = min(across for slowest, across in plans if slowest <= limit)

    cuts = choose_cuts(flops, crossing, stages=stages, costs=CutCosts(flops_per_byte=rate, slack=slack))
    slowest, across = slowest_and_bytes(flops, crossing, cuts, rate)
    assert len(cuts) == stages - 1
    assert slowest <= limit
    assert across == fewest


def test_work_is_shared_alike_where_bytes_cost_nothing() -> None:
    assert choose_cuts([1, 1, 1, 1, 1, 1], [9, 9, 9, 9, 9], stages=3, costs=CutCosts(flops_per_byte=0.0)) == [1, 3]


def test_a_cheap_border_is_taken_before_a_fair_share() -> None:
    costs = CutCosts(flops_per_byte=1.0)
    assert choose_cuts([10, 10, 10, 10], [1, 100, 100], stages=2, costs=costs) == [0]


def test_slack_saves_bytes() -> None:
    flops, crossing = [10, 1, 10], [9, 1]
    strict, loose = (CutCosts(flops_per_byte=0.0, slack=slack) for slack in (0.0, 0.1))
    assert choose_cuts([10, 1, 9], crossing, stages=2, costs=strict) == [0]
    assert choose_cuts([10, 1, 9], crossing, stages=2, costs=loose) == [1]
    assert choose_cuts(flops, crossing, stages=2, costs=strict) == [1]


@pytest.mark.parametrize("stages", [0, 4])
def test_more_stages_than_pieces_are_refused(stages: int) -> None:
    with pytest.raises(ValueError, match="fewer pieces"):
        choose_cuts([1, 2, 3], [1, 1], stages=stages, costs=CutCosts())
