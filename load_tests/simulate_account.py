"""What a simulated run comes to: frames that were late or shed, hours paid for, changes of mind, time to scale out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WINDOW_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A changed number of replicas, at `at_s`."""

    at_s: float
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One run. `violations` is the share of offered frames that were late or shed.

    `reversals_per_10min` is the mean over the run, `most_reversals` the most in any ten minutes of it. `scale_out_s` is
    the longest time from demand beyond what was ordered to an order of more; `short_s` the seconds of the run in which
    frames were shed.
    """

    violations: float
    gpu_hours: float
    reversals: int
    reversals_per_10min: float
    most_reversals: int
    scale_out_s: float
    short_s: int
    orders: int


def reversals_s(orders: Sequence[Order]) -> list[float]:
    """The moments at which an order goes the other way than the one before it."""
    signed = [(order.at_s, order.after > order.before) for order in orders if order.after != order.before]
    return [at_s for (_, was_out), (at_s, is_out) in pairwise(signed) if is_out != was_out]


def most_within(moments_s: Sequence[float], *, window_s: float = WINDOW_S) -> int:
    """The most of these sorted moments that any window holds, its end excluded."""
    first, most = 0, 0
    for index, at_s in enumerate(moments_s):
        while moments_s[first] <= at_s - window_s:
            first += 1
        most = max(most, index - first + 1)
    return most


def scale_out_s(short_since_s: Sequence[float], orders: Sequence[Order], *, end_s: float) -> float:
    """The longest wait from a moment when demand passed what was ordered to the next order of more; 0 of no moment.

    A demand that fell again before anybody ordered more is not in `short_since_s`.
    """
    outs = [order.at_s for order in orders if order.after > order.before]
    longest, place = 0.0, 0
    for since_s in short_since_s:
        while place < len(outs) and outs[place] < since_s:
            place += 1
        longest = max(longest, (outs[place] if place < len(outs) else end_s) - since_s)
    return longest
