"""Scenario `streams`: live streams in numbers, with slow readers, under overload and under kills; the staged layout.

All frames are 640 x 360 farm streets, each with (stream, seq) as its barcode. The service is one that a user starts.
"""

import argparse
import asyncio
import json
import sys
import time

from load_tests.efficiency import CONFIGS, say
from load_tests.evidence import publish
from load_tests.service import Service, configuration, running
from load_tests.streams_kills import kills
from load_tests.streams_many import many
from load_tests.streams_overload import overload
from load_tests.streams_slow_reader import slow_reader

PARTS = {"many": many, "slow_reader": slow_reader, "overload": overload, "kills": kills}
"""In this order: what a stream holds is seen best in a service that has done nothing yet."""
AT_MOST = {
    "lost_frames": 0.0,
    "duplicated_frames": 0.0,
    "other_faults": 0.0,
    "crossing_error": 0.0,
    "differing_frames": 0.0,
    "recovery_s": 3.0,
    "overload_age_intervals": 2.0,
    "overload_lost": 0.0,
    "slow_reader_p99_ratio": 1.1,
    "slow_reader_rss_mib": 20.0,
}
AT_LEAST = {"active_cores_r2": 0.95}


def missed(figures: dict[str, float]) -> list[str]:
    """The figures that miss their target."""
    above = [name for name, most in AT_MOST.items() if figures.get(name, most) > most]
    return above + [name for name, least in AT_LEAST.items() if figures.get(name, least) < least]


async def _run(service: Service, parts: list[str]) -> tuple[dict[str, float], dict[str, object]]:
    figures: dict[str, float] = {}
    details: dict[str, object] = {}
    for name in parts:
        begin_s = time.monotonic()
        more, details[name] = await PARTS[name](service)
        figures |= more
        say(f"{name} took {time.monotonic() - begin_s:.0f} s: {json.dumps(more)}")
    return figures, details


def main() -> int:
    """Exit code 1 when a figure misses its target. Only the whole scenario is published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parts: list[str] = parser.parse_args().parts
    begin_s = time.monotonic()
    with running(configuration(CONFIGS["staged"])) as service:
        figures, details = asyncio.run(_run(service, parts))
    if parts == list(PARTS):
        publish("streams", figures, missed=missed(figures), took_s=time.monotonic() - begin_s, **details)
    else:
        print(json.dumps({"figures": figures, "details": details}, indent=2))
    say(f"missed: {missed(figures) or 'nothing'}")
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
