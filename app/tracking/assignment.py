"""The best one-to-one matching of tracks and detections, solved group by group and not as one matrix."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Indices: TypeAlias = NDArray[np.intp]
Weights: TypeAlias = NDArray[np.float64]
Pairs: TypeAlias = tuple[Indices, Indices]
"""Rows and columns of matched pairs."""

_FEW = 48  # so few edges are solved as one matrix in less time than it takes to find their components
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
    while edges.row.size:
        certain, edges = _settle(edges, rows=rows, cols=cols)
        if certain[0].size:
            found.append(certain)
        if not certain[0].size or edges.row.size <= _FEW:
            break
    if 0 < edges.row.size <= _FEW:
        found.append(_solve(edges))
    else:
        found.extend(_solve(edges.take(np.array(group))) for group in components(edges))
    if len(found) == 1:
        return found[0]
    empty = np.empty(0, np.intp)
    return np.concatenate([empty, *(row for row, _ in found)]), np.concatenate([empty, *(col for _, col in found)])


def _settle(edges: Edges, *, rows: int, cols: int) -> tuple[Pairs, Edges]:
    """The edges that are certain, and those that these leave possible."""
    row, col, weight = edges
    rivals = np.bincount(row, weight, rows).take(row)
    rivals += np.bincount(col, weight, cols).take(col)
    # Both sums hold the edge itself, hence 3. Were it not in a matching, it could replace the at most two edges in its
    # way, and the matching would gain.
    certain = (_CERTAIN * weight > rivals).nonzero()[0]
    pairs = row.take(certain), col.take(certain)
    is_open_row, is_open_col = np.ones(rows, np.bool_), np.ones(cols, np.bool_)
    is_open_row[pairs[0]] = False
    is_open_col[pairs[1]] = False
    return pairs, edges.take((is_open_row.take(row) & is_open_col.take(col)).nonzero()[0])


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


def _solve(edges: Edges) -> Pairs:
    """The best matching of edges that need not be connected, as one small matrix."""
    rows, row = _compact(edges.row)
    cols, col = _compact(edges.col)
    dense = np.zeros((rows.size, cols.size))
    dense[row, col] = edges.weight
    chosen_row, chosen_col = linear_sum_assignment(dense, maximize=True)
    real = dense[chosen_row, chosen_col].nonzero()[0]
    return rows.take(chosen_row.take(real)), cols.take(chosen_col.take(real))


def _compact(numbers: Indices) -> tuple[Indices, Indices]:
    """The different numbers in order, and for each of `numbers` its place among them."""
    is_used = np.zeros(int(numbers.max()) + 1, np.bool_)
    is_used[numbers] = True
    return is_used.nonzero()[0], (is_used.cumsum() - 1).take(numbers)
