"""Scenario `streams`: live streams under kills and overload, with slow readers, and in numbers; the staged layout."""

import argparse
import asyncio
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


async def _run(service: Service, parts: list[str]) -> tuple[dict[str, float], dict[str, object]]:
    figures: dict[str, float] = {}
    details: dict[str, object] = {}
    for name in parts:
        begin_s = time.monotonic()
        more, details[name] = await PARTS[name](service)
        figures |= more
        say(f"{name} took {time.monotonic() - begin_s:.0f} s: {more}")
    return figures, details


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    given = parser.parse_args()
    with running(configuration(CONFIGS["staged"])) as service:
        figures, details = asyncio.run(_run(service, given.parts))
    publish("streams", figures, **details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
