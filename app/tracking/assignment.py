"""The best one-to-one matching of tracks and detections, solved group by group and not as one matrix."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Indices: TypeAlias = NDArray[np.intp]
Pairs: TypeAlias = tuple[Indices, Indices]
"""Rows and columns of matched pairs."""

_MARGIN = 1 + 1e-12  # sums are rounded: an edge that wins by less is left to the solver


@dataclass(frozen=True, slots=True)
class Edges:
    """The possible matches: edge i joins track `row[i]` and detection `col[i]` and is worth `weight[i]` > 0."""

    row: Indices
    col: Indices
    weight: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> "Edges":
        """Only the chosen edges."""
        index = chosen.nonzero()[0]
        return Edges(self.row.take(index), self.col.take(index), self.weight.take(index))


def best_matching(edges: Edges, *, rows: int, cols: int) -> Pairs:
    """A matching whose summed weight no other exceeds; indices lie below `rows` and `cols`.

    It reaches the weight of a dense assignment with 0 for every missing edge. First come the edges that every best
    matching contains: those heavier than all that compete with them together, above all those without a competitor.
    What these leave open is solved per connected component.
    """
    found: list[Pairs] = []
    while edges.row.size:
        rivals = np.bincount(edges.row, edges.weight, rows).take(edges.row)
        rivals += np.bincount(edges.col, edges.weight, cols).take(edges.col)
        # Both sums hold the edge itself, hence 3. Were it not in a matching, it could replace the at most two edges in
        # its way, and the matching would gain.
        is_certain = 3 * edges.weight > rivals * _MARGIN
        certain = is_certain.nonzero()[0]
        if not certain.size:
            found.append(_solve_components(edges))
            break
        row, col = edges.row.take(certain), edges.col.take(certain)
        found.append((row, col))
        if certain.size == edges.row.size:
            break
        is_taken = np.zeros(rows + cols, np.bool_)
        is_taken[row] = True
        is_taken[col + rows] = True
        edges = edges.where(~(is_taken.take(edges.row) | is_taken.take(edges.col + rows)))
    return joined(found)


def joined(found: list[Pairs]) -> Pairs:
    """All pairs in one."""
    if len(found) == 1:
        return found[0]
    empty = np.empty(0, np.intp)
    return np.concatenate([empty, *(row for row, _ in found)]), np.concatenate([empty, *(col for _, col in found)])


def components(edges: Edges) -> list[list[int]]:
    """The indices of the edges, grouped by connected component."""
    # What comes here is the small rest of a frame: plain integers beat arrays, 0.6 us an edge against 25 us a call.
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


def _solve_components(edges: Edges) -> Pairs:
    rows: list[int] = []
    cols: list[int] = []
    all_rows, all_cols, all_weights = edges.row.tolist(), edges.col.tolist(), edges.weight.tolist()
    for group in components(edges):
        row_names = list(dict.fromkeys(all_rows[index] for index in group))
        col_names = list(dict.fromkeys(all_cols[index] for index in group))
        row_place = {name: place for place, name in enumerate(row_names)}
        col_place = {name: place for place, name in enumerate(col_names)}
        dense = np.zeros((len(row_names), len(col_names)))
        for index in group:
            dense[row_place[all_rows[index]], col_place[all_cols[index]]] = all_weights[index]
        for row, col in zip(*linear_sum_assignment(dense, maximize=True), strict=True):
            if dense[row, col] > 0:
                rows.append(row_names[row])
                cols.append(col_names[col])
    return np.array(rows, np.intp), np.array(cols, np.intp)
