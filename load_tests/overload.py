"""Scenario `overload`: open-loop loads of several times what the service can do, and what is left of it meanwhile.

Capacity is the highest rate of answers within the SLO that a closed loop of a few connections gets. It is taken before
and after each load, since the machine's other tenants come and go. A closed loop waits for the service and so gets more
within the SLO than independent callers could: the goodput told here is a lower bound.
"""

import argparse
import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from load_tests import scenarios
from load_tests.efficiency import CONFIGS, jpegs, say
from load_tests.evidence import publish
from load_tests.http_client import request_bytes, saturate
from load_tests.open_loop_account import account_of, believed, stage_clocks
from load_tests.open_loop_arrivals import even, poisson
from load_tests.open_loop_client import Record
from load_tests.open_loop_fleet import fire, fire_beside
from load_tests.overload_account import Level, back_to_normal_s, most_within_slo_hz, p99_s
from load_tests.service import Service, configuration, running

_ALIVE_HZ = 2.0
_MEMORY_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The scenario file's parameters, and what the command line changed."""

    seconds: float
    factors: Sequence[float]
    slo_s: float
    clients: int
    warm_s: float
    capacity_s: float
    connections: Sequence[int]
    calm_s: float
    calm_share: float
    deadline: bool
    max_late_p99_s: float


class Overload:
    """The scenario on one service."""

    def __init__(self, service: Service, plan: Plan, bodies: Sequence[bytes]) -> None:
        self._service = service
        self._plan = plan
        self._requests = [
            _with_deadline(request_bytes("/v1/detections", body, host=service.host), plan) for body in bodies
        ]
        self.stages: dict[str, Any] = {}

    def run(self) -> list[Level]:
        """The loads in order."""
        say(f"warming for {self._plan.warm_s:g} s")
        saturate(self._service.host, self._service.port, self._requests, connections=16, seconds=self._plan.warm_s)
        before_hz = self._capacity_hz()
        self.stages["half of capacity"] = self._calm(before_hz, seconds=self._plan.calm_s / 2)
        levels = []
        for factor in self._plan.factors:
            level, before_hz = self._level(factor, before_hz)
            levels.append(level)
        return levels

    def _level(self, factor: float, before_hz: float) -> tuple[Level, float]:
        plan = self._plan
        say(f"{factor:g} times {before_hz:.1f} images/s for {plan.seconds:g} s")
        load = poisson(factor * before_hz, plan.seconds, seed=int(factor * 10))
        calm = plan.seconds + poisson(plan.calm_share * before_hz, plan.calm_s, seed=int(factor * 10) + 1)
        at_rest_bytes = self._service.rss_bytes()
        with _most_memory(self._service) as most:
            whole, alive = fire_beside(
                self._service.host,
                self._service.port,
                self._requests,
                due_s=np.concatenate([load, calm]),
                clients=plan.clients,
                seed=int(factor),
                beside=(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", even(_ALIVE_HZ, plan.seconds)),
            )
        over_s = float(whole.due_s[0] - load[0]) + plan.seconds
        loaded = whole.part(whole.due_s < over_s)
        account = believed(account_of(loaded, slo_s=plan.slo_s), max_late_p99_s=plan.max_late_p99_s)
        self.stages[f"{factor:g}x"] = stage_clocks(whole.bodies)
        after_hz = self._capacity_hz()
        level = Level(
            factor=factor,
            seconds=plan.seconds,
            capacity_hz=(before_hz + after_hz) / 2,
            account=account,
            rss_growth_bytes=most[0] - at_rest_bytes,
            back_s=back_to_normal_s(whole, slo_s=plan.slo_s, over_s=over_s),
            watched_s=plan.calm_s,
            alive_p99_s=p99_s(alive),
        )
        say(f"{factor:g}x: goodput {level.goodput:.2f}, {account.answered} answered, {account.typed} refused")
        return level, after_hz

    def _capacity_hz(self) -> float:
        turns = [
            saturate(
                self._service.host,
                self._service.port,
                self._requests,
                connections=connections,
                seconds=self._plan.capacity_s,
            )
            for connections in self._plan.connections
        ]
        within = [(np.array(turn.latencies_s)[np.array(turn.ends) == 200], turn.elapsed_s) for turn in turns]
        capacity_hz = most_within_slo_hz(within, slo_s=self._plan.slo_s)
        if capacity_hz <= 0:
            raise RuntimeError("no answer came within the SLO: the service is too slow for it on this machine")
        return capacity_hz

    def _calm(self, capacity_hz: float, *, seconds: float) -> dict[str, Any]:
        due_s = poisson(self._plan.calm_share * capacity_hz, seconds, seed=1)
        record = self._fired(due_s)
        account = account_of(record, slo_s=self._plan.slo_s)
        return {"p99_s": account.answered_p99_s, "goodput": account.goodput, **stage_clocks(record.bodies)}

    def _fired(self, due_s: Any) -> Record:
        return fire(self._service.host, self._service.port, self._requests, due_s=due_s, clients=self._plan.clients)


def _with_deadline(request: bytes, plan: Plan) -> bytes:
    if not plan.deadline:
        return request
    return request.replace(b"\r\n", f"\r\nx-deadline-ms: {plan.slo_s * 1e3:.0f}\r\n".encode(), 1)


@contextlib.contextmanager
def _most_memory(service: Service) -> Iterator[list[float]]:
    """The most that the service held at one time, in the list after the end."""
    most = [float(service.rss_bytes())]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_MEMORY_EVERY_S):
            most[0] = max(most[0], float(service.rss_bytes()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


def main() -> int:
    """Exit code 1 when a figure misses its target."""
    given_by_file = scenarios.parameters("overload")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default=given_by_file["layout"])
    parser.add_argument("--seconds", type=float, default=given_by_file["seconds"], help="of each load")
    parser.add_argument("--factors", nargs="+", type=float, default=given_by_file["factors"])
    parser.add_argument("--slo-s", type=float, default=given_by_file["slo_s"])
    parser.add_argument("--calm-s", type=float, default=given_by_file["calm_s"])
    parser.add_argument("--capacity-s", type=float, default=given_by_file["capacity_s"])
    parser.add_argument("--deadline", action=argparse.BooleanOptionalAction, default=given_by_file["deadline"])
    given = parser.parse_args()
    plan = Plan(
        seconds=given.seconds,
        factors=given.factors,
        slo_s=given.slo_s,
        clients=given_by_file["clients"],
        warm_s=given_by_file["warm_s"],
        capacity_s=given.capacity_s,
        connections=given_by_file["connections"],
        calm_s=given.calm_s,
        calm_share=given_by_file["calm_share"],
        deadline=given.deadline,
        max_late_p99_s=given_by_file["max_late_p99_s"],
    )
    bodies = jpegs(width_px=given_by_file["width_px"], height_px=given_by_file["height_px"])
    with running(configuration(CONFIGS[given.layout], **given_by_file["args"])) as service:
        overload = Overload(service, plan, bodies)
        levels = overload.run()
    figures: dict[str, float] = {}
    for level in levels:
        figures |= level.figures(plan.slo_s)
    missed = scenarios.missed("overload", figures)
    publish(
        "overload",
        figures,
        layout=given.layout,
        missed=missed,
        slo_s=plan.slo_s,
        deadline=plan.deadline,
        body_bytes=int(np.mean([len(body) for body in bodies])),
        stages=overload.stages,
        levels=[level.details() for level in levels],
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
