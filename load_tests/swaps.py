"""Scenario `swaps`: models change under load, and nobody notices. `swaps_live` and `swaps_in_process` say how.

`swap_failed` and `swap_torn` count answers of the live turns that are none, or not what exactly one registered version
says; `swap_s` is the longest change: from asking for it to the first answer of the new version and the last of the old
one. `swap_p99_ratio` is the median, over pairs of turns that alternate, of p99 while versions are loaded, swapped and
unloaded over p99 without; both from when a request was due, at half of what the service can do. `switch_p99_ratio` is
the same of what was due within a second of a switch, which loading the next version seldom disturbs.
"""

import argparse
import asyncio
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from load_tests.efficiency import CONFIGS
from load_tests.evidence import publish
from load_tests.service import running
from load_tests.swap_operator import Operator
from load_tests.swaps_in_process import SWAPS as SWAPS_IN_PROCESS
from load_tests.swaps_in_process import in_process
from load_tests.swaps_live import SWAPS, TURNS, Live, settings
from load_tests.swaps_rules import WEIGHED, rules

MAX_SWITCH_S, MAX_P99_RATIO, MAX_SIGMA = 0.8, 1.2, 3.0
MAX_SLOPE_BYTES, MAX_SLOPE_MIB = 2048, 0.25
"""A swap, in one process and in all; what is above cannot be told from an allocator's wandering over so few."""


async def _live(service: Any, versions: Any, *, swaps: int, turns: int, weighed: int) -> Any:
    async with Operator(service.url, versions) as operator:
        live = Live(service, operator)
        figures, details = await live.run(swaps=swaps, turns=turns)
        by_rule, more = await rules(live, weighed=weighed)
        live.client.close()
    return {**figures, **by_rule}, {**details, **more}


def misses(figures: dict[str, float]) -> list[str]:
    """The figures that are over their limit."""
    none = [name for name in figures if name.endswith(("failed", "torn", "_wrong", "_late", "flaps"))]
    limits = {
        **dict.fromkeys(none, 0.0),
        "swap_s": MAX_SWITCH_S,
        "swap_p99_ratio": MAX_P99_RATIO,
        "weights_sigma": MAX_SIGMA,
        "sticky_sigma": MAX_SIGMA,
        "swap_rss_slope_mib_per_swap": MAX_SLOPE_MIB,
        "swap_in_process_rss_slope_bytes_per_swap": MAX_SLOPE_BYTES,
        "worse_rolled_back_s": sys.float_info.max,
        "erroneous_rolled_back_s": sys.float_info.max,
    }
    return [f"{name} {figures[name]:.4g} > {limit:.4g}" for name, limit in limits.items() if not figures[name] <= limit]


def main() -> int:
    """Exit code 1 when a figure misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default="staged")
    parser.add_argument("--swaps", type=int, default=SWAPS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--in-process", type=int, default=SWAPS_IN_PROCESS)
    parser.add_argument("--weighed", type=int, default=WEIGHED)
    given = parser.parse_args()
    figures, details = in_process(given.in_process)
    with tempfile.TemporaryDirectory() as folder:
        config, versions = settings(Path(folder), layout=given.layout)
        with running(config) as service:
            live = _live(service, versions, swaps=given.swaps, turns=given.turns, weighed=given.weighed)
            found, words = asyncio.run(live)
    figures = {**found, **figures}
    missed = misses(figures)
    finite = {name: value if math.isfinite(value) else -1.0 for name, value in figures.items()}
    publish("swaps", finite, layout=given.layout, missed=missed, **words, in_process=details)
    for words_of_miss in missed:
        print(f"swaps: {words_of_miss}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
