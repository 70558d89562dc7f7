"""Scenario `memory`: what the service holds after 10,000 images, against what it held after 1,000; and its start.

1080p JPEGs through the default configuration with the bundled model. Resident memory is summed over all processes.
"""

import argparse
import sys

from load_tests.efficiency import CONFIGS, jpegs, say
from load_tests.evidence import publish
from load_tests.http_client import request_bytes, send
from load_tests.service import configuration, running

TARGET_GROWTH = 0.05
TARGET_START_S = 60.0
CONNECTIONS = 16
MARKS = (1_000, 2_500, 5_000, 7_500, 10_000)


def main() -> int:
    """Exit code 1 when memory grew by more than the target, or the start took longer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default="staged")
    given = parser.parse_args()
    rss_mib: dict[int, float] = {}
    with running(configuration(CONFIGS[given.layout])) as service:
        requests = [request_bytes("/v1/detections", body, host=service.host) for body in jpegs()]
        sent = 0
        for mark in MARKS:
            statuses = send(service.host, service.port, requests, connections=CONNECTIONS, count=mark - sent)
            sent = mark
            if set(statuses) != {200}:
                raise RuntimeError(f"not every image was answered: {statuses}")
            rss_mib[mark] = service.rss_bytes() / 2**20
            say(f"{mark} images: {rss_mib[mark]:.0f} MiB")
        start_s = service.start_s
    growth = rss_mib[MARKS[-1]] / rss_mib[MARKS[0]] - 1
    figures = {"rss_growth": growth, "start_s": start_s}
    publish("memory", figures, layout=given.layout, rss_mib={str(k): round(v) for k, v in rss_mib.items()})
    return 0 if growth <= TARGET_GROWTH and start_s <= TARGET_START_S else 1


if __name__ == "__main__":
    sys.exit(main())
