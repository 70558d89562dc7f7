"""The best one-to-one matching of tracks and detections, solved group by group and not as one matrix."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Indices: TypeAlias = NDArray[np.intp]
Weights: TypeAlias = NDArray[np.float64]
Pairs: TypeAlias = tuple[Indices, Indices]
"""Rows and columns of matched pairs."""

_FEW = 128  # so few edges are solved as one matrix in less time than it takes to find their components
_CERTAIN = 3 - 1e-11  # sums are rounded: an edge that wins by less is left to the solver


class Edges(NamedTuple):
    """The possible matches: edge i joins track `row[i]` and detection `col[i]` and is worth `weight[i]` > 0."""

    row: Indices
    col: Indices
    weight: Weights

    def take(self, index: Indices) -> "Edges":
        """Those edges only."""
        return Edges(self.row.take(index), self.col.take(index), self.weight.take(index))


def best_matching(edges: Edges, *, rows: int, cols: int) -> Pairs:
    """A matching whose summed weight no other exceeds; indices lie below `rows` and `cols`.

    It reaches the weight of a dense assignment with 0 for every missing edge. First come the edges that every best
    matching contains: those heavier than all that compete with them together, above all those without a competitor.
    What these leave open is solved per connected component.
    """
    found: list[Pairs] = []
    while True:
        certain, edges = _settle(edges, rows=rows, cols=cols)
        found.append(certain)
        if not certain[0].size or edges.row.size <= _FEW:
            break
    if edges.row.size <= _FEW:
        found.append(_solve(edges, rows=rows, cols=cols))
    else:
        found.extend(_solve(edges.take(np.array(group)), rows=rows, cols=cols) for group in components(edges))
    return np.concatenate([row for row, _ in found]), np.concatenate([col for _, col in found])


def _settle(edges: Edges, *, rows: int, cols: int) -> tuple[Pairs, Edges]:
    """The edges that are certain, and those that these leave possible."""
    row, col, weight = edges
    rivals = np.bincount(row, weight, rows).take(row)
    rivals += np.bincount(col, weight, cols).take(col)
    # Both sums hold the edge itself, hence 3. Were it not in a matching, it could replace the at most two edges in its
    # way, and the matching would gain.
    certain = (_CERTAIN * weight > rivals).nonzero()[0]
    pairs = row.take(certain), col.take(certain)
    is_row_taken, is_col_taken = np.zeros(rows, np.bool_), np.zeros(cols, np.bool_)
    is_row_taken[pairs[0]] = True
    is_col_taken[pairs[1]] = True
    is_out = is_row_taken.take(row)
    is_out |= is_col_taken.take(col)
    return pairs, edges.take((~is_out).nonzero()[0])


def components(edges: Edges) -> list[list[int]]:
    """The indices of the edges, grouped by connected component."""
    leader: dict[int, int] = {}
    rows, cols = edges.row.tolist(), edges.col.tolist()
    for row, col in zip(rows, cols, strict=True):
        leader[_leader_of(~col, leader)] = _leader_of(row, leader)
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_leader_of(row, leader), []).append(index)
    return list(groups.values())


def _leader_of(node: int, leader: dict[int, int]) -> int:
    """The node that stands for its component, rows being 0, 1, … and columns -1, -2, …; paths are halved on the way."""
    above = leader.setdefault(node, node)
    while above != node:
        leader[node] = leader[above]
        node, above = above, leader[above]
    return node


def _solve(edges: Edges, *, rows: int, cols: int) -> Pairs:
    """The best matching of edges that need not be connected, as one small matrix."""
    if not edges.row.size:
        return edges.row, edges.col
    row_names, row = _compact(edges.row, count=rows)
    col_names, col = _compact(edges.col, count=cols)
    dense = np.zeros((row_names.size, col_names.size))
    dense[row, col] = edges.weight
    row, col = linear_sum_assignment(dense, maximize=True)
    real = dense[row, col].nonzero()[0]
    return row_names.take(row.take(real)), col_names.take(col.take(real))


def _compact(numbers: Indices, *, count: int) -> Pairs:
    """The different ones of `numbers`, all below `count`, in order, and for each of `numbers` its place among them."""
    is_used = np.zeros(count, np.bool_)
    is_used[numbers] = True
    names = is_used.nonzero()[0]
    place = np.empty(count, np.intp)
    place[names] = np.arange(names.size)
    return names, place.take(numbers)
