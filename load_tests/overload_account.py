"""What the scenario `overload` reckons with: goodput against capacity, and when everything is normal again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from load_tests.open_loop_account import Account, quantile_s
from load_tests.open_loop_arrivals import Floats
from load_tests.open_loop_client import Record

CALM_S: Final = 3.0
"""For so long everything has to be right before it is called normal."""
CALM_SHARE: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load, `factor` times what the service can: the account of it, and what it did to the service.

    `capacity_hz` is the mean of what was measured just before and just after it. `back_s` is None when the service was
    not normal again while it was watched,
    for `watched_s`: then its figure is that long.
    """

    factor: float
    seconds: float
    capacity_hz: float
    account: Account
    rss_growth_bytes: float
    back_s: float | None
    watched_s: float
    alive_p99_s: float
    """Of `/healthz` meanwhile."""

    @property
    def goodput(self) -> float:
        """Answers within the SLO ÷ those that its capacity allows in that time."""
        return self.account.on_time / (self.capacity_hz * self.seconds)

    def figures(self, slo_s: float) -> dict[str, float]:
        """Its figures by name."""
        end = f"{self.factor:g}x"
        return {
            f"goodput_{end}": self.goodput,
            f"accepted_p99_slo_{end}": self.account.answered_p99_s / slo_s,
            f"untyped_{end}": float(sum(self.account.strays.values())),
            f"refused_p99_s_{end}": self.account.refused_p99_s,
            f"overload_rss_mib_{end}": self.rss_growth_bytes / 2**20,
            f"back_s_{end}": self.watched_s if self.back_s is None else self.back_s,
            f"alive_p99_s_{end}": self.alive_p99_s,
        }

    def details(self) -> dict[str, Any]:
        """Everything."""
        return {
            "factor": self.factor,
            "seconds": self.seconds,
            "capacity_hz": round(self.capacity_hz, 1),
            "is_back": self.back_s is not None,
            "goodput_of_captured": round(self.account.goodput, 4),
            **asdict(self.account),
        }


def back_to_normal_s(record: Record, *, slo_s: float, over_s: float) -> float | None:
    """Seconds after `over_s` from which on CALM_SHARE of what was due in the next CALM_S was answered in time.

    Looked at every 0.1 s; None when that never came.
    """
    is_good = (record.status == 200) & (record.latency_s <= slo_s)
    last_s = float(record.due_s[-1]) if len(record.due_s) else over_s
    for begin_s in np.arange(over_s, last_s - CALM_S, 0.1):
        is_then = (record.due_s >= begin_s) & (record.due_s < begin_s + CALM_S)
        if is_then.any() and is_good[is_then].mean() >= CALM_SHARE:
            return float(begin_s - over_s)
    return None


def most_within_slo_hz(turns: Sequence[tuple[Floats, float]], *, slo_s: float) -> float:
    """The highest rate of answers within the SLO over turns of (latencies, elapsed seconds); 0 of none."""
    return max((float((latencies <= slo_s).sum()) / elapsed_s for latencies, elapsed_s in turns), default=0.0)


def p99_s(record: Record) -> float:
    """Of whatever was answered at all, from when it was due."""
    return quantile_s(record.latency_s[record.status > 0], 0.99)
