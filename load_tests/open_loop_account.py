"""What a record of an open loop comes to: latencies, goodput, refusals, and whether the client may be believed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from load_tests.open_loop_arrivals import Floats
from load_tests.open_loop_client import Record

STAGES: Final = ("decode_s", "preprocess_s", "queue_s", "inference_s", "postprocess_s", "total_s")
MAX_LATE_P99_S: Final = 0.01
MAX_CLIENT_SHARE: Final = 0.7
"""Of one core. A process near 1 waits for itself, and its lateness follows soon."""


class LateClientError(RuntimeError):
    """The client was too busy to measure anybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Counts of requests, and seconds. `answered` are 200s, `on_time` those within the SLO, from when they were due.

    `typed` refusals are 429 or 503 with a code of ours and Retry-After, or 504 with a code of ours: who set a deadline
    knows when to come again. `strays` are all other ends, by what they were. Quantiles of none are 0.
    """

    offered: int
    answered: int
    on_time: int
    typed: int
    typed_as: dict[str, int]
    strays: dict[str, int]
    answered_p50_s: float
    answered_p99_s: float
    refused_p50_s: float
    refused_p99_s: float
    late_p99_s: float
    client_share: float
    """Of one core, that of the busiest client process."""

    @property
    def goodput(self) -> float:
        """The share of what was offered that was answered within its SLO."""
        return self.on_time / self.offered if self.offered else 0.0


def quantile_s(values: Floats, share: float) -> float:
    """The smallest value that `share` of them do not exceed; 0 of none."""
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else 0.0


def account_of(record: Record, *, slo_s: float) -> Account:
    """The account of a record."""
    is_answered = record.status == 200
    is_refused = record.status > 200
    latency_s = record.latency_s
    typed_as, strays = dict[str, int](), dict[str, int]()
    for refusal, times in record.refusals.items():
        wants_again = refusal.status in (429, 503) and refusal.has_retry_after
        if refusal.code and (wants_again or refusal.status == 504):
            said = f"{refusal.status} {refusal.code}"
            typed_as[said] = typed_as.get(said, 0) + times
        else:
            said = refusal.code or "no code"
            again = "" if refusal.has_retry_after else ", no Retry-After"
            strays[f"{refusal.status} {said}{again}"] = times
    return Account(
        offered=len(record.status),
        answered=int(is_answered.sum()),
        on_time=int((is_answered & (latency_s <= slo_s)).sum()),
        typed=sum(typed_as.values()),
        typed_as=typed_as,
        strays=strays,
        answered_p50_s=quantile_s(latency_s[is_answered], 0.5),
        answered_p99_s=quantile_s(latency_s[is_answered], 0.99),
        refused_p50_s=quantile_s(latency_s[is_refused], 0.5),
        refused_p99_s=quantile_s(latency_s[is_refused], 0.99),
        late_p99_s=quantile_s(record.late_s[~np.isnan(record.late_s)], 0.99),
        client_share=max(record.cpu_s) / record.elapsed_s if record.elapsed_s else 0.0,
    )


def believed(account: Account, *, max_late_p99_s: float = MAX_LATE_P99_S) -> Account:
    """The same account; LateClientError when the client came late to its requests or had no time left."""
    if account.late_p99_s > max_late_p99_s:
        raise LateClientError(
            f"the client was {account.late_p99_s * 1e3:.1f} ms late (p99), more than {max_late_p99_s * 1e3:g} ms:"
            " this run measures the client"
        )
    if account.client_share > MAX_CLIENT_SHARE:
        raise LateClientError(f"a client process used {account.client_share:.0%} of a core: take more of them")
    return account


def stage_clocks(bodies: Iterable[bytes]) -> dict[str, dict[str, float]]:
    """By stage the median and the p99 of what answers say of themselves, in seconds; empty of none."""
    timings: list[Mapping[str, Any]] = [json.loads(body)["timings"] for body in bodies]
    if not timings:
        return {}
    columns = {stage: np.array([float(one.get(stage, 0.0)) for one in timings]) for stage in STAGES}
    return {
        stage: {"p50_s": round(quantile_s(column, 0.5), 6), "p99_s": round(quantile_s(column, 0.99), 6)}
        for stage, column in columns.items()
    }
