"""Where to cut a chain of work into stages: numbers in, positions out, nothing known of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCosts:
    """What a cut costs. A byte that passes from one stage to the next costs each of the two `flops_per_byte`.

    400 is 10 TFLOP/s that a GPU attains beside 25 GB/s, which is what PCIe 4.0 carries over 16 lanes; measure both, as
    a slower way through host memory makes fewer parts better. `slack` in [0, 1]: how much slower than the best the
    slowest stage may be where that saves bytes.
    """

    flops_per_byte: float = 400.0
    slack: float = 0.05


def choose_cuts(flops: Sequence[float], crossing_bytes: Sequence[float], *, stages: int, costs: CutCosts) -> list[int]:
    """Return the `stages - 1` borders to cut at, ascending: border i lies between the pieces i and i + 1.

    `flops` are the pieces of work, `crossing_bytes` what passes at each border. A pipeline is as fast as its slowest
    stage, so first the highest cost of a stage (its FLOPs, and its bytes in and out times `flops_per_byte`) is made as
    small as can be; then, among all plans whose slowest stage is at most `slack` above that, the one with the fewest
    bytes across is taken. Both by dynamic programming over the borders, and both exact. ValueError when there are fewer
    pieces than stages.
    """
    if not 1 <= stages <= len(flops) or len(crossing_bytes) != len(flops) - 1:
        raise ValueError("fewer pieces than stages")
    chain = _Chain(flops, crossing_bytes, costs.flops_per_byte)
    best, _ = chain.plan(stages, limit=inf)
    if stages == 1:
        return []
    _, cuts = chain.plan(stages, limit=best * (1.0 + costs.slack))
    return cuts


class _Chain:
    """The pieces, with the sums that the cost of any run of them follows from."""

    def __init__(self, flops: Sequence[float], crossing_bytes: Sequence[float], flops_per_byte: float) -> None:
        self._done = [0.0]
        for piece in flops:
            self._done.append(self._done[-1] + piece)
        self._bytes = [0.0, *crossing_bytes, 0.0]
        self._flops_per_byte = flops_per_byte

    def _cost(self, begin: int, end: int) -> float:
        """Return what the stage of the pieces `begin` to `end`, exclusive, costs in FLOPs."""
        across = self._bytes[begin] + self._bytes[end]
        return self._done[end] - self._done[begin] + across * self._flops_per_byte

    def plan(self, stages: int, *, limit: float) -> tuple[float, list[int]]:
        """Return a plan without a stage above `limit`, as its slowest stage's cost and its borders.

        Without a limit the slowest stage is as fast as can be; with one the fewest bytes pass.
        """
        count = len(self._done) - 1
        is_free = limit == inf
        scores = [0.0, *[inf] * count]
        origins: list[list[int]] = []
        for _ in range(stages):
            reached, origin = [inf] * (count + 1), [0] * (count + 1)
            for end in range(1, count + 1):
                for begin in range(end):
                    cost = self._cost(begin, end)
                    if scores[begin] == inf or cost > limit:
                        continue
                    score = max(scores[begin], cost) if is_free else scores[begin] + self._bytes[begin]
                    if score < reached[end]:
                        reached[end], origin[end] = score, begin
            scores = reached
            origins.append(origin)
        borders, end = [], count
        for origin in reversed(origins):
            end = origin[end]
            borders.append(end - 1)
        return scores[count], borders[-2::-1]
