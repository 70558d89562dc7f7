"""A pytest plugin for the tests of single Ray parts: they share one cluster."""

from collections.abc import Iterator

import pytest

from tests.small_cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def small_cluster() -> Iterator[Cluster]:
    """A cluster with Serve on it and nothing deployed; what a module deploys takes the place of what was there."""
    with running_cluster(RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S="2") as cluster:  # 30 s in earnest
        yield cluster
