"""The theory of queues agrees with the arithmetic of many of them, and notices an arithmetic that is wrong."""

import numpy as np
import pytest

from load_tests.queueing_theory import (
    Deterministic,
    Hyperexponential,
    Service,
    lindley_s,
    relative_errors,
    response_quantile_s,
    schedule,
    typical_schedule,
)

MD1 = Deterministic(mean_s=0.02)
MG1 = Hyperexponential(shares=(0.9, 0.1), means_s=(0.016, 0.08))
QUEUES = [(MD1, 35.0), (MG1, 26.8)]


def test_one_server_takes_them_in_order() -> None:
    found = lindley_s(np.array([0.0, 1.0, 1.5, 9.0]), np.array([2.0, 2.0, 1.0, 1.0]))
    np.testing.assert_allclose(found, [2.0, 3.0, 3.5, 1.0])


@pytest.mark.parametrize(("service", "rate_hz"), QUEUES, ids=["md1", "mg1"])
def test_a_million_requests_agree_with_theory_within_two_per_cent(service: Service, rate_hz: float) -> None:
    drawn = schedule(service, rate_hz=rate_hz, seconds=1e6 / rate_hz, seed=1)
    assert max(map(abs, relative_errors(drawn.exact_s, service, rate_hz=rate_hz).values())) < 0.02


@pytest.mark.parametrize(("service", "rate_hz"), QUEUES, ids=["md1", "mg1"])
def test_latency_from_when_it_was_sent_is_found_wrong(service: Service, rate_hz: float) -> None:
    """A positive control: what a closed loop would tell, the service alone, is off by more than half."""
    drawn = schedule(service, rate_hz=rate_hz, seconds=1e5 / rate_hz, seed=1)
    assert relative_errors(drawn.service_s, service, rate_hz=rate_hz)["p99"] < -0.5


def test_exponential_services_are_an_mm1() -> None:
    """Its response is exponential with rate μ - λ. Source: Kleinrock, Queueing Systems volume 1, 3.2."""
    service = Hyperexponential(shares=(0.5, 0.5), means_s=(0.01, 0.01 + 1e-9))
    assert response_quantile_s(service, 0.99, rate_hz=60.0) == pytest.approx(np.log(100) / 40, rel=1e-4)


def test_nobody_waits_where_nobody_comes() -> None:
    assert response_quantile_s(MD1, 0.99, rate_hz=1e-6) == pytest.approx(0.02, rel=1e-6)


def test_a_queue_that_cannot_keep_up_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="grows for ever"):
        response_quantile_s(MD1, 0.5, rate_hz=50.0)


def test_a_typical_schedule_is_what_theory_says() -> None:
    found = typical_schedule(MD1, rate_hz=35.0, seconds=60.0, within=0.02, most=2000)
    assert max(map(abs, relative_errors(found.exact_s, MD1, rate_hz=35.0).values())) <= 0.02
