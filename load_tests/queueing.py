"""Scenario `queueing`: the measuring tool against queues whose latencies are known, and a closed loop beside it.

A stub serves one request at a time over TCP, with the service times of an M/D/1 and of an M/G/1; the open loop has to
find the p50 and the p99 of theory within 2 %. A closed loop on the same arrivals shows what it would have missed. A
stub that answers at once says what the client itself costs.
"""

import argparse
import sys
from typing import Any

import numpy as np

from load_tests import scenarios
from load_tests.efficiency import say
from load_tests.evidence import publish
from load_tests.http_client import request_bytes
from load_tests.open_loop_account import LateClientError, account_of, believed, quantile_s
from load_tests.open_loop_arrivals import Floats, poisson
from load_tests.open_loop_client import Record
from load_tests.open_loop_fleet import fire
from load_tests.queueing_stub import Stub, stub
from load_tests.queueing_theory import (
    Deterministic,
    Hyperexponential,
    Service,
    relative_errors,
    schedule,
    typical_schedule,
)

HOST = "127.0.0.1"
_SCHEDULE_WITHIN = 0.003
"""What of the 2 % the choice of the schedule may use up."""


def main() -> int:
    """Exit code 1 when a figure misses its target."""
    given_by_file = scenarios.parameters("queueing")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=given_by_file["seconds"], help="of each queue on the wire")
    parser.add_argument("--clients", type=int, default=given_by_file["clients"])
    given = parser.parse_args()
    queues: dict[str, Service] = {
        "md1": Deterministic(mean_s=given_by_file["md1"]["service_s"]),
        "mg1": Hyperexponential(shares=given_by_file["mg1"]["shares"], means_s=given_by_file["mg1"]["services_s"]),
    }
    figures: dict[str, float] = {}
    details: dict[str, Any] = {"seconds": given.seconds, "clients": given.clients}
    for name, service in queues.items():
        rate_hz = given_by_file[name]["load"] / service.mean_s
        say(f"{name}: in virtual time")
        drawn = schedule(service, rate_hz=rate_hz, seconds=given_by_file["virtual_requests"] / rate_hz, seed=1)
        virtual = relative_errors(drawn.exact_s, service, rate_hz=rate_hz)
        say(f"{name}: {given.seconds:g} s at {rate_hz:.0f} requests/s on the wire, open loop and closed loop")
        wire = _on_the_wire(service, rate_hz=rate_hz, seconds=given.seconds, clients=given.clients)
        figures |= {f"{name}_{quantile}_error": abs(wire["open_errors"][quantile]) for quantile in ("p50", "p99")}
        figures |= {f"{name}_{quantile}_error_virtual": abs(virtual[quantile]) for quantile in ("p50", "p99")}
        figures[f"{name}_closed_loop_ratio"] = wire["open_p99_s"] / wire["closed_p99_s"]
        details[name] = {"rate_hz": rate_hz, "virtual_requests": len(drawn.due_s), **wire}
    details["floor"] = floor = _floor(given_by_file["floor_rates_hz"], clients=given.clients)
    figures["client_p50_s"] = floor[0]["p50_s"]
    figures["client_cpu_s_per_request"] = floor[-1]["cpu_s_per_request"]
    figures["client_max_rate_hz"] = max((step["rate_hz"] for step in floor if step["is_believed"]), default=0.0)
    missed = scenarios.missed("queueing", figures)
    publish("queueing", figures, missed=missed, **details)
    return 1 if missed else 0


def _request() -> bytes:
    return request_bytes("/", b"x" * 64, host=HOST)


def _sent(running: Stub, due_s: Floats, *, clients: int, connections: int | None = None) -> Record:
    return fire(HOST, running.port, [_request()], due_s=due_s, clients=clients, connections=connections, keep_every=0)


def _on_the_wire(service: Service, *, rate_hz: float, seconds: float, clients: int) -> dict[str, Any]:
    """The open loop, and the same arrivals on one connection with latencies from when they were sent."""
    chosen = typical_schedule(service, rate_hz=rate_hz, seconds=seconds, within=_SCHEDULE_WITHIN)
    with stub(chosen.service_s) as running:
        opened = _sent(running, chosen.due_s, clients=clients)
    with stub(chosen.service_s) as closed_running:
        closed = _sent(closed_running, chosen.due_s, clients=1, connections=1)
    account = believed(account_of(opened, slo_s=np.inf))
    errors = relative_errors(opened.latency_s, service, rate_hz=rate_hz)
    added_s = opened.latency_s - chosen.exact_s
    return {
        "requests": len(chosen.due_s),
        "schedule_errors": relative_errors(chosen.exact_s, service, rate_hz=rate_hz),
        "open_errors": {name: round(error, 5) for name, error in errors.items()},
        "open_p50_s": account.answered_p50_s,
        "open_p99_s": account.answered_p99_s,
        "added_by_wire_and_client_p50_s": quantile_s(added_s, 0.5),
        "added_by_wire_and_client_p99_s": quantile_s(added_s, 0.99),
        "stub_late_p99_s": quantile_s(running.answer_late_s, 0.99),
        "client_late_p99_s": account.late_p99_s,
        "client_share": account.client_share,
        "closed_p50_s": quantile_s(closed.ended_s - closed.sent_s, 0.5),
        "closed_p99_s": quantile_s(closed.ended_s - closed.sent_s, 0.99),
    }


def _floor(rates_hz: list[float], *, clients: int) -> list[dict[str, Any]]:
    """The client against a stub that answers at once, at growing rates."""
    steps = []
    for rate_hz in rates_hz:
        say(f"a stub that answers at once, {rate_hz:g} requests/s")
        with stub(np.zeros(0)) as running:
            record = _sent(running, poisson(rate_hz, 4.0, seed=3), clients=clients)
        account = account_of(record, slo_s=np.inf)
        try:
            believed(account)
            is_believed = True
        except LateClientError:
            is_believed = False
        steps.append(
            {
                "rate_hz": rate_hz,
                "p50_s": account.answered_p50_s,
                "p99_s": account.answered_p99_s,
                "late_p99_s": account.late_p99_s,
                "cpu_s_per_request": sum(record.cpu_s) / account.offered,
                "client_share": account.client_share,
                "is_believed": is_believed,
            }
        )
    return steps


if __name__ == "__main__":
    sys.exit(main())
