import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import linear_sum_assignment

from app.tracking import assignment
from app.tracking.assignment import Edges, best_matching, components

weights = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.one_of(st.just(0.0), st.sampled_from([0.25, 0.5, 1.0]), st.floats(0.01, 1.0)),
)


def make_edges(dense: np.ndarray):
    rows, cols = dense.nonzero()
    return Edges(np.stack([rows, cols + len(dense)]), dense[rows, cols])


def matched(dense: np.ndarray):
    row, col = best_matching(make_edges(dense), nodes=sum(dense.shape))
    return row, col - len(dense)


def dense_total(dense: np.ndarray):
    return dense[linear_sum_assignment(dense, maximize=True)].sum()


@pytest.mark.parametrize("few", [0, 128])
@given(dense=weights)
def test_matching_weighs_what_the_dense_assignment_weighs(few: int, dense: np.ndarray):
    before, assignment._FEW = assignment._FEW, few
    try:
        row, col = matched(dense)
    finally:
        assignment._FEW = before
    assert dense[row, col].sum() == pytest.approx(dense_total(dense), abs=1e-9)
    assert len(set(row.tolist())) == len(row)
    assert len(set(col.tolist())) == len(col)
    assert (dense[row, col] > 0).all()


def test_greedy_matching_would_weigh_less():
    dense = np.array([[0.6, 0.5], [0.5, 0.0]])
    row, col = matched(dense)
    assert sorted(zip(row.tolist(), col.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert dense.max() < dense[row, col].sum()


@pytest.mark.parametrize("blocks", [1, 40])
def test_large_graph_is_solved_component_by_component(blocks: int):
    rng = np.random.default_rng(1)
    dense = np.zeros((6 * blocks, 6 * blocks))
    for number in range(blocks):
        part = slice(6 * number, 6 * number + 6)
        dense[part, part] = rng.uniform(0.4, 0.6, (6, 6))
    row, col = matched(dense)
    assert len(components(make_edges(dense))) == blocks
    assert dense[row, col].sum() == pytest.approx(dense_total(dense))


def test_chain_is_one_component_and_pairs_are_many():
    chain = Edges(np.array([[0, 0, 1, 1, 2], [10, 11, 11, 12, 12]]), np.ones(5))
    pairs = Edges(np.array([[0, 1, 2], [10, 11, 12]]), np.ones(3))
    assert components(chain) == [[0, 1, 2, 3, 4]]
    assert components(pairs) == [[0], [1], [2]]


def test_no_edges_match_nothing():
    row, col = best_matching(Edges(np.empty((2, 0), np.intp), np.empty(0)), nodes=5)
    assert row.size == col.size == 0
