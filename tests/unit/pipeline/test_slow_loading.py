"""A model that takes a minute to load: it holds up nobody, nobody takes it for dead, and in the end it answers."""

import asyncio
from typing import Final

from app.core.frame import Detections
from app.pipeline.model_records import Directive, Held, Load
from app.pipeline.version_keeper import VersionKeeper
from app.policy.lifecycle import Phase
from tests.unit.pipeline.registry_world import MODEL, World, world
from tests.unit.pipeline.version_parts import VersionEngine, detector_of, sent_to

SLOW_S: Final = 60
NEXT: Final = (MODEL, "2.0.0")


def loading(made: World, *, seconds: int) -> None:
    """The one replica loads, and reports so every second."""
    for _ in range(seconds):
        made.clock.now_s += 1.0
        load = next(iter(made.registry.directive("r0").load), None)
        attempt = made.held["r0"][NEXT].attempt if load is None else load.attempt
        made.held["r0"][NEXT] = Held(phase=Phase.LOADING, attempt=attempt)
        made.report("r0")
        made.check()


def test_the_routes_hold_and_keep_it_out_for_as_long_as_it_loads() -> None:
    made = world()
    before = made.status.routes
    made.put("2.0.0")
    loading(made, seconds=SLOW_S)
    assert made.phase("2.0.0") is Phase.LOADING
    assert made.phase("1.0.0") is Phase.PRIMARY
    assert "2.0.0" in made.refusal({"2.0.0": 1.0})
    assert made.status.routes == before
    made.held["r0"][NEXT] = Held(phase=Phase.WARM, attempt=made.held["r0"][NEXT].attempt)
    made.report("r0")
    assert made.phase("2.0.0") is Phase.WARM
    made.route({"2.0.0": 1.0})
    assert made.phase("2.0.0") is Phase.PRIMARY


def test_one_that_fails_after_a_minute_says_why_and_changes_no_route() -> None:
    made = world()
    made.put("2.0.0")
    loading(made, seconds=SLOW_S)
    attempt = made.held["r0"][NEXT].attempt
    made.held["r0"][NEXT] = Held(phase=Phase.FAILED, error="took longer than it may", attempt=attempt)
    made.report("r0")
    assert made.phase("2.0.0") is Phase.FAILED
    assert made.phase("1.0.0") is Phase.PRIMARY


def test_a_registry_that_restarts_meanwhile_lets_it_load_on() -> None:
    made = world()
    made.put("2.0.0")
    loading(made, seconds=SLOW_S // 2)
    made.restart()
    attempt = made.held["r0"][NEXT].attempt
    loading(made, seconds=SLOW_S // 2)
    assert made.held["r0"][NEXT].attempt == attempt
    assert made.phase("2.0.0") is Phase.LOADING


class SlowOpening:
    """Opens when it may, and not before."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = asyncio.Event()

    async def __call__(self, load: Load) -> VersionEngine:
        self.asked += 1
        await self.may.wait()
        return VersionEngine(load.version, edge_px=20)


def test_a_replica_answers_and_reports_while_it_loads_and_begins_only_once() -> None:
    order = Directive(load=(Load(model="test", version="2.0.0", uri="", sha256="a" * 64, attempt=1),))

    async def scene() -> None:
        detector, opening = detector_of(VersionEngine("1.0.0", edge_px=10)), SlowOpening()
        keeper = VersionKeeper(detector, opening)
        for seq in range(SLOW_S):  # a heartbeat each second of a minute
            keeper.follow(order)
            (outcome,) = await detector.detect([sent_to("1.0.0", seq=seq)])
            assert isinstance(outcome, Detections)
            assert keeper.held()["test", "2.0.0"].phase is Phase.LOADING
        assert opening.asked == 1
        opening.may.set()
        await asyncio.gather(*keeper._tasks.values())
        (outcome,) = await detector.detect([sent_to("2.0.0")])
        assert isinstance(outcome, Detections)
        assert outcome.route is not None
        assert outcome.route.version == "2.0.0"
        await keeper.close()
        detector.close()

    asyncio.run(scene())
