"""Real services for the tests that need one, started once a session."""

from collections.abc import Iterator

import pytest

from load_tests.service import Service, configuration, running


@pytest.fixture(scope="session")
def staged() -> Iterator[Service]:
    """Every stage in a deployment of its own, as serve_config.yaml has it."""
    with running(configuration()) as service:
        yield service


@pytest.fixture(scope="session")
def colocated() -> Iterator[Service]:
    """Every stage in the ingress process, as deployments/colocated.yaml has it."""
    with running(configuration("deployments/colocated.yaml")) as service:
        yield service
