"""A fleet of GPUs second by second: replicas that start slowly and fail by nodes, and the frames before them."""

import math
import random
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantParameters:
    """One replica is one GPU and answers `capacity_hz` frames a second, each `service_s` after it is begun.

    A frame is good when it is answered within `slo_s`; one that would wait longer is shed, the newest first. A replica
    that is ordered runs after `node_start_s` and `model_load_s`. A node holds `gpus_per_node`, and fails once in
    `node_life_s` on average, all its replicas with it; what failed is ordered again by itself. `vram_static` and
    `vram_load` are shares of the memory that the weights hold, and that buffers hold at full load; `frame_bytes` cross
    a link of `link_bytes_hz` per frame.
    """

    capacity_hz: float = 400.0
    service_s: float = 0.02
    slo_s: float = 0.1  # Source: MISSION.md, settled reading 11
    node_start_s: float = 120.0
    model_load_s: float = 40.0
    gpus_per_node: int = 4
    node_life_s: float = math.inf
    vram_static: float = 0.3
    vram_load: float = 0.5
    frame_bytes: float = 1920 * 1080 * 3
    link_bytes_hz: float = 7.9e9  # PCIe 3.0 x8, as a card that shares its slot has

    @property
    def start_s(self) -> float:
        """From the order to the first frame."""
        return self.node_start_s + self.model_load_s

    @property
    def pcie_full(self) -> float:
        """Share of the link that a replica at its capacity takes."""
        return min(self.capacity_hz * self.frame_bytes / self.link_bytes_hz, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What became of one second's frames; `ongoing` are in work or waiting, and what was shed as if it were in work."""

    offered: float
    answered: float
    late: float
    shed: float
    ongoing: float


class Fleet:
    """Running and starting replicas, and the frames that wait for them."""

    def __init__(self, parameters: PlantParameters, *, replicas: int, seed: int) -> None:
        self.parameters = parameters
        self.running = replicas
        self.failed = 0
        self._starting: deque[tuple[float, int]] = deque()
        self._queue = 0.0
        self._chance = random.Random(seed)
        self._until_failure = self._chance.expovariate(1.0)

    @property
    def starting(self) -> int:
        """Replicas that are ordered and do not run yet."""
        return sum(count for _, count in self._starting)

    @property
    def ordered(self) -> int:
        """Replicas that are paid for: they run, or start."""
        return self.running + self.starting

    def order(self, replicas: int, *, now_s: float) -> None:
        """Want that many: more begin to start now; fewer end at once, those that would be ready last before others."""
        missing = replicas - self.ordered
        if missing > 0:
            self._starting.append((now_s + self.parameters.start_s, missing))
        while missing < 0 and self._starting:
            ready_s, count = self._starting.pop()
            if count > -missing:
                self._starting.append((ready_s, count + missing))
            missing = min(missing + count, 0)
        self.running += min(0, missing)

    def second(self, offered: float, *, now_s: float) -> Second:
        """Let one second pass in which so many frames come."""
        while self._starting and self._starting[0][0] <= now_s:
            self.running += self._starting.popleft()[1]
        self._fail(now_s)
        p = self.parameters
        capacity = self.running * p.capacity_hz
        there = self._queue + offered
        answered = min(there, capacity)
        most = capacity * (p.slo_s - p.service_s)
        waiting = there - answered
        shed = max(waiting - most, 0.0)
        self._queue = waiting - shed
        late = answered * late_share(answered, replicas=self.running, parameters=p) if not self._queue else 0.0
        ongoing = (answered + shed) * p.service_s + self._queue
        return Second(offered=offered, answered=answered, late=late, shed=shed, ongoing=ongoing)

    def _fail(self, now_s: float) -> None:
        p = self.parameters
        nodes = math.ceil(self.running / p.gpus_per_node)
        self._until_failure -= nodes / p.node_life_s
        while self._until_failure <= 0:
            lost = min(p.gpus_per_node, self.running)
            self.running -= lost
            self.failed += lost
            if lost:
                self._starting.append((now_s + p.start_s, lost))
            self._until_failure += self._chance.expovariate(1.0)


def late_share(answered: float, *, replicas: int, parameters: PlantParameters) -> float:
    """Share of a second's frames that wait too long although there is capacity, by the chance of their arrivals.

    Poisson arrivals, fixed service, as many servers as replicas: P(wait) by Sakasegawa, the tail by Kingman's
    heavy-traffic exponential. Source: Hopp and Spearman, Factory Physics, 3rd ed., 8.6 to 8.7.
    """
    p = parameters
    capacity = replicas * p.capacity_hz
    if answered <= 0.5 * capacity:
        return 0.0  # below 1e-6 at every size here
    load = min(answered / capacity, 1.0)
    does_wait = load ** (math.sqrt(2 * (replicas + 1)) - 1)
    return float(does_wait * math.exp(-2 * capacity * (1 - load) * (p.slo_s - p.service_s)))
