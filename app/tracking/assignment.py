"""The best one-to-one matching of tracks and detections, solved group by group and not as one matrix."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Indices: TypeAlias = NDArray[np.intp]

_FEW = 128  # so few edges are solved as one matrix in less time than it takes to find their components
_CERTAIN = 3 - 1e-11  # sums are rounded: an edge that wins by less is left to the solver


class Edges(NamedTuple):
    """The possible matches: edge i joins the nodes `ends[:, i]`, `ends` `(2, e)`, and is worth `weight[i]` > 0.

    The first end is a track, 0 up to its count, the second a detection, numbered on from there.
    """

    ends: Indices
    weight: NDArray[np.float64]

    def take(self, index: Indices) -> "Edges":
        """Those edges only."""
        return Edges(self.ends.take(index, axis=1), self.weight.take(index))


def best_matching(edges: Edges, *, nodes: int) -> Indices:
    """The ends `(2, k)` of a matching whose summed weight no other exceeds; all ends lie below `nodes`.

    It reaches the weight of a dense assignment with 0 for every missing edge. First come the edges that every best
    matching contains: those heavier than all that compete with them together, above all those without a competitor.
    What these leave open is solved per connected component.
    """
    found: list[Indices] = []
    while edges.weight.size:
        certain, edges = _settle(edges, nodes=nodes)
        found.append(certain)
        if not certain.size or edges.weight.size <= _FEW:
            break
    if edges.weight.size > _FEW:
        found.extend(_solve(edges.take(np.array(group)), nodes=nodes) for group in components(edges))
    elif edges.weight.size:
        found.append(_solve(edges, nodes=nodes))
    if len(found) == 1:
        return found[0]
    return np.concatenate(found, axis=1) if found else edges.ends


def _settle(edges: Edges, *, nodes: int) -> tuple[Indices, Edges]:
    """The ends of the edges that are certain, and the edges that these leave possible."""
    ends, weight = edges
    rivals = np.bincount(ends.ravel(), np.concatenate((weight, weight)), nodes).take(ends)
    # Both sums hold the edge itself, hence 3. Were it not in a matching, it could replace the at most two edges in its
    # way, and the matching would gain.
    index = (_CERTAIN * weight > rivals[0] + rivals[1]).nonzero()[0]
    certain = ends.take(index, axis=1)
    if index.size == weight.size:
        return certain, edges.take(index[:0])
    is_open = np.ones(nodes, np.bool_)
    is_open[certain] = False
    are_open = is_open.take(ends)
    rest = (are_open[0] & are_open[1]).nonzero()[0]
    return certain, edges.take(rest)


def components(edges: Edges) -> list[list[int]]:
    """The indices of the edges, grouped by connected component."""
    leader: dict[int, int] = {}
    rows, cols = edges.ends.tolist()
    for row, col in zip(rows, cols, strict=True):
        leader[_leader_of(col, leader)] = _leader_of(row, leader)
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_leader_of(row, leader), []).append(index)
    return list(groups.values())


def _leader_of(node: int, leader: dict[int, int]) -> int:
    """The node that stands for its component; paths are halved on the way."""
    above = leader.setdefault(node, node)
    while above != node:
        leader[node] = leader[above]
        node, above = above, leader[above]
    return node


def _solve(edges: Edges, *, nodes: int) -> Indices:
    """The ends of the best matching of edges that need not be connected, as one small matrix."""
    is_used = np.zeros(nodes, np.bool_)
    is_used[edges.ends] = True
    names = is_used.nonzero()[0]
    place = np.empty(nodes, np.intp)
    place[names] = np.arange(names.size)
    ends = place.take(edges.ends)
    rows = int(ends[0].max()) + 1  # tracks come before detections
    ends[1] -= rows
    dense = np.zeros((rows, names.size - rows))
    dense[ends[0], ends[1]] = edges.weight
    row, col = linear_sum_assignment(dense, maximize=True)
    real = dense[row, col].nonzero()[0]
    chosen = np.empty((2, real.size), np.intp)
    row.take(real, out=chosen[0])
    np.add(col.take(real), rows, out=chosen[1])
    return names.take(chosen)
