"""Part `live` of the scenario `swaps`: real networks in processes of their own, swapped under requests over HTTP."""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from load_tests.admission import percentile
from load_tests.efficiency import CONFIGS, say
from load_tests.open_loop import OpenLoop, Shot, shots
from load_tests.service import Service, configuration, rss_bytes
from load_tests.streams_processes import by_part
from load_tests.swap_account import Account, Switch, account_of, switch_s, theil_sen
from load_tests.swap_models import Mark, Written, pictures, write
from load_tests.swap_operator import Operator

SWAPS, TURNS = 50, 5
BASELINE_S, WARM_UP_S, CAPACITY_S = 12.0, 6.0, 4.0
SHARE_OF_CAPACITY = 0.5
AROUND_S = (0.25, 1.0)
"""Seconds before and after a switch is asked for that count as around it."""
CALLERS: Final = 24
MARKS: Final = tuple(Mark(n=n) for n in range(6))
"""Those that are swapped in turn."""
WORSE: Final = Mark(n=8, is_displaced=True)
ERRONEOUS: Final = Mark(n=9, is_erroneous=True)


def settings(folder: Path, *, layout: str = "staged", **registry: Any) -> tuple[dict[str, Any], dict[str, Written]]:
    """A configuration that serves the first mark, the others beside it in its store; and what is in the store."""
    versions = write(folder, [*MARKS, WORSE, ERRONEOUS])
    model = {
        "path": str(versions[MARKS[0].version].path),
        "store": str(folder),
        "engine": "onnxruntime",
        "streams": 1,
        "max_batch": 4,
    }
    judged = {"min_frames": 50, "min_compared": 50}
    quick = {"grace_s": 1.0, "window_s": 1.0, "canary": judged, **registry}
    return configuration(CONFIGS[layout], model=model, registry=quick), versions


@dataclass(slots=True)
class _Turns:
    """What was measured turn by turn."""

    calm_s: list[float] = field(default_factory=list)
    switching_s: list[float] = field(default_factory=list)
    """Latencies of all calm turns, and of what was due around a switch."""
    calm_p99_s: list[float] = field(default_factory=list)
    swapping_p99_s: list[float] = field(default_factory=list)
    switches_s: list[float] = field(default_factory=list)
    loads_s: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    calm_failed: Counter[str] = field(default_factory=Counter)
    torn: list[str] = field(default_factory=list)
    answered: int = 0
    rss: list[tuple[float, float]] = field(default_factory=list)
    held: list[dict[str, float]] = field(default_factory=list)
    """Resident bytes by number of swaps, and MiB by part of the service, after each turn."""


class Live:
    """The scenario on one service."""

    def __init__(self, service: Service, operator: Operator) -> None:
        self.service = service
        self.operator = operator
        self._marks = {version: written.mark for version, written in operator.versions.items()}
        self.shots = shots(pictures(), host=service.host)
        self.client = OpenLoop(service.host, service.port)
        self._order = itertools.cycle([*(mark.version for mark in MARKS[1:]), MARKS[0].version])
        self.rate_hz = 0.0

    async def run(self, *, swaps: int, turns: int) -> tuple[dict[str, float], dict[str, Any]]:
        """Figures and details."""
        await self.operator.until(MARKS[0].version, {"PRIMARY"})
        await self._measure_capacity()
        measured = _Turns()
        for turn in range(turns):
            for part in (self._calm, self._swapping) if turn % 2 == 0 else (self._swapping, self._calm):
                await part(measured, turn, swaps // turns)
                # Not while requests are sent: it reads all of /proc, and would hold up the client.
                await self.operator.settled()
                held = by_part(self.service, rss_bytes)
                measured.rss.append((len(measured.switches_s), sum(held.values())))
                measured.held.append({name: round(value / 2**20, 1) for name, value in held.items()})
        return self._of(measured)

    def account(self) -> Account:
        """That of all answers since the last one."""
        return account_of(self.client.taken(), marks=self._marks, epochs=self.operator.epochs)

    async def _measure_capacity(self) -> None:
        await self.client.rush(self._until_s(WARM_UP_S), connections=CALLERS)
        self.client.taken()
        begin_s = time.monotonic()
        await self.client.rush(self._until_s(CAPACITY_S), connections=CALLERS)
        answered = sum(sent.status == 200 for sent in self.client.taken())
        capacity_hz = answered / (time.monotonic() - begin_s)
        self.rate_hz = SHARE_OF_CAPACITY * capacity_hz
        say(f"{capacity_hz:.0f} images/s in a closed loop; from now on {self.rate_hz:.0f} images/s in an open one")

    def _until_s(self, seconds: float) -> "itertools.takewhile[Shot]":
        end_s = time.monotonic() + seconds
        return itertools.takewhile(lambda _: time.monotonic() < end_s, itertools.cycle(self.shots))

    async def _calm(self, measured: _Turns, turn: int, _swaps: int) -> None:
        end_s = time.monotonic() + BASELINE_S
        await self.offered(lambda: time.monotonic() < end_s, seed=turn)
        account = self.account()
        measured.calm_failed += account.failed
        measured.torn += account.torn
        measured.calm_s += [one.sent.latency_s for one in account.told]
        measured.calm_p99_s.append(_p99_s(account))

    async def _swapping(self, measured: _Turns, turn: int, swaps: int) -> None:
        going = True
        offering = asyncio.create_task(self.offered(lambda: going, seed=100 + turn))
        switches = []
        try:
            for _ in range(swaps):
                switches.append(await self._swap(measured))  # noqa: PERF401  those that were made count
        finally:
            going = False
            await offering
        account = self.account()
        measured.failed += account.failed
        measured.torn += account.torn
        measured.answered += len(account.told)
        measured.swapping_p99_s.append(_p99_s(account))
        measured.switches_s += [switch_s(switch, account.told) for switch in switches]
        for switch in switches:
            first_s, last_s = switch.asked_s - AROUND_S[0], switch.asked_s + AROUND_S[1]
            near = (one.sent for one in account.told if first_s <= one.sent.due_s < last_s)
            measured.switching_s += [sent.latency_s for sent in near]

    async def _swap(self, measured: _Turns) -> Switch:
        version = next(self._order)
        begin_s = time.monotonic()
        await self.operator.load(version)
        measured.loads_s.append(time.monotonic() - begin_s)
        epoch = (await self.operator.settled(version))["route_epoch"]
        asked_s = time.monotonic()
        answer = await self.operator.route(if_match=epoch, weights={version: 1.0})
        answer.raise_for_status()
        return Switch(asked_s=asked_s, epoch=answer.json()["route_epoch"])

    async def offered(self, goes_on: Callable[[], bool], *, seed: int) -> None:
        """Requests at the usual rate, until all are answered."""
        await self.client.offer(self.shots, rate_hz=self.rate_hz, goes_on=goes_on, seed=seed)

    def _of(self, measured: _Turns) -> tuple[dict[str, float], dict[str, Any]]:
        ratios = [a / b for a, b in zip(measured.swapping_p99_s, measured.calm_p99_s, strict=True)]
        half = measured.rss[len(measured.rss) // 2 :]
        figures = {
            "swaps": float(len(measured.switches_s)),
            "swap_answers": float(measured.answered),
            "swap_failed": float(measured.failed.total()),
            "swap_torn": float(len(measured.torn)),
            "swap_s": max(measured.switches_s),
            "swap_median_s": statistics.median(measured.switches_s),
            "swap_p99_ratio": statistics.median(ratios),
            "switch_p99_ratio": percentile(measured.switching_s, 0.99) / percentile(measured.calm_s, 0.99),
            "swap_rss_slope_mib_per_swap": theil_sen(half) / 2**20,
        }
        return figures, {
            "rate_hz": round(self.rate_hz, 1),
            "failed": dict(measured.failed),
            "calm_failed": dict(measured.calm_failed),
            "torn": measured.torn[:20],
            "calm_p99_s": [round(value, 4) for value in measured.calm_p99_s],
            "swapping_p99_s": [round(value, 4) for value in measured.swapping_p99_s],
            "load_s": {"median": statistics.median(measured.loads_s), "worst": max(measured.loads_s)},
            "switch_s": [round(value, 3) for value in measured.switches_s],
            "rss_mib": [round(held / 2**20) for _, held in measured.rss],
            "rss_by_part_mib": {"first": measured.held[0], "last": measured.held[-1]},
        }


def _p99_s(account: Account) -> float:
    """From when requests were due."""
    return percentile([one.sent.latency_s for one in account.told], 0.99)
