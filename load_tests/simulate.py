"""A fleet of GPUs in virtual time: a trace, a plant and a rule that says how many there should be, second by second."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from load_tests.simulate_account import WINDOW_S, Account, Order, most_within, reversals_s, scale_out_s
from load_tests.simulate_plant import Fleet, PlantParameters
from load_tests.simulate_rules import (
    AIM,
    History,
    HpaLike,
    KedaLike,
    Ours,
    Rule,
    ServeDefault,
    calibrated,
    to_the_letter,
)
from load_tests.simulate_traces import Trace

Make = Callable[[PlantParameters, int], Rule]
SPARE = 2
"""Replicas that may be ordered, as a multiple of the GPUs that a trace is scaled to."""
SUSTAINED_S = 5
"""Demand that passes what is ordered for less than this is noise, and no reason to order more."""


@dataclass(slots=True)
class Run:
    """Everything that happened; `seconds` holds frames offered, and replicas running and ordered, of each second."""

    trace: str
    gpus: int
    orders: list[Order] = field(default_factory=list)
    seconds: list[tuple[float, int, int]] = field(default_factory=list)
    short_since_s: list[float] = field(default_factory=list)
    offered: float = 0.0
    late: float = 0.0
    shed: float = 0.0
    short_s: int = 0
    gpu_s: float = 0.0

    def account(self) -> Account:
        """What it comes to."""
        moments_s = reversals_s(self.orders)
        return Account(
            violations=(self.late + self.shed) / max(self.offered, 1.0),
            gpu_hours=self.gpu_s / 3600,
            reversals=len(moments_s),
            reversals_per_10min=len(moments_s) / (len(self.seconds) / WINDOW_S),
            most_reversals=most_within(moments_s),
            scale_out_s=scale_out_s(self.short_since_s, self.orders, end_s=float(len(self.seconds))),
            short_s=self.short_s,
            orders=len(self.orders),
        )


def simulate(trace: Trace, make: Make, *, gpus: int, seed: int = 1, keeps: bool = False) -> Run:
    """Run the rule on the trace scaled to so many GPUs. With `keeps` false `seconds` holds no replicas, only zeros."""
    plant, most = trace.plant, most_replicas(gpus)
    offered_hz = trace.offered_hz(gpus, seed=seed)
    first = max(math.ceil(sum(offered_hz[:60]) / 60 / (AIM * plant.capacity_hz)), 1)
    fleet, rule, seen, run = (
        Fleet(plant, replicas=first, seed=seed),
        make(plant, most),
        History(),
        Run(trace.name, gpus),
    )
    beyond_s = 0
    for now_s, offered in enumerate(offered_hz):
        second = fleet.second(offered, now_s=float(now_s))
        ordered = fleet.ordered
        seen.add(second, running=fleet.running)
        run.offered += offered
        run.late += second.late
        run.shed += second.shed
        run.short_s += second.shed > 0
        run.gpu_s += ordered
        run.seconds.append((offered, fleet.running, ordered) if keeps else (0.0, 0, 0))
        beyond_s = beyond_s + 1 if ordered < most and offered > ordered * plant.capacity_hz else 0
        if beyond_s == SUSTAINED_S:
            run.short_since_s.append(float(now_s + 1 - SUSTAINED_S))
        if (now_s + 1) % rule.period_s == 0:
            wanted = rule.replicas(seen, now_s=float(now_s + 1), running=fleet.running, ordered=ordered)
            if wanted != ordered:
                run.orders.append(Order(at_s=float(now_s + 1), before=ordered, after=wanted))
                fleet.order(wanted, now_s=float(now_s + 1))
    return run


def most_replicas(gpus: int) -> int:
    """How many may be ordered at a scale."""
    return max(SPARE * gpus, 4)


def ours(*, sees_offered: bool = True, **changes: float) -> Make:
    """The product's policy calibrated to the plant, with changed parameters where given."""

    def make(plant: PlantParameters, most: int) -> Rule:
        return Ours(calibrated(plant, max_replicas=most, **changes), plant, sees_offered=sees_offered)

    return make


def row_58(plant: PlantParameters, most: int) -> Rule:
    """The product's policy with its defaults."""
    return Ours(to_the_letter(plant, max_replicas=most), plant)


def serve_default(aim: float = AIM) -> Make:
    """Serve's own, its target set to what is ongoing at a share of capacity."""
    return lambda plant, most: ServeDefault(target_ongoing=aim * plant.capacity_hz * plant.service_s, max_replicas=most)


def hpa_like(aim: float = AIM) -> Make:
    """The HPA, aiming at a share of capacity; MISSION row 111 has 0.6."""
    return lambda plant, most: HpaLike(target_hz=aim * plant.capacity_hz, max_replicas=most)


def keda_like(aim: float = AIM) -> Make:
    """The threshold rule, its threshold a share of capacity."""
    return lambda plant, most: KedaLike(threshold_hz=aim * plant.capacity_hz, max_replicas=most)


def without_hysteresis(plant: PlantParameters, most: int) -> Rule:
    """A planted fault: the real policy with every threshold in one place, no confirmation and no pause."""
    changes = {"in_confirmations": 1, "cooldown_s": 0.0, "in_cooldown_s": 0.0, "min_benefit": 0.0, "in_qps_ratio": 1e9}
    flat = calibrated(plant, max_replicas=most)
    aim = flat.aim_score
    return Ours(replace(flat, out_score=aim, in_score=aim, **changes), plant)  # type: ignore[arg-type]
