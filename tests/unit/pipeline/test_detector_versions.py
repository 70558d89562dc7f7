"""Versions of a model side by side in one stage: who answers, what a shadow sees, and what going means."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ModelError, UnavailableError
from app.core.frame import Detections
from app.core.outcome import Dropped, DropReason, End, Failed, Outcome
from app.core.routing import Route
from app.pipeline.detector import Detector
from app.pipeline.version_traffic import Seen
from tests.builders import make_input, make_ref
from tests.unit.pipeline.version_parts import VersionEngine, detector_of, route_to, sent_to


def heights(outcomes: Sequence[Outcome[Detections]]) -> list[float]:
    """What identifies the versions that answered."""
    return [float(one.xyxy[0, 3]) for one in outcomes if isinstance(one, Detections)]


def routes(outcomes: Sequence[Outcome[Detections]]) -> list[Route | None]:
    return [one.route for one in outcomes if isinstance(one, Detections)]


async def shadows(detector: Detector) -> None:
    """Until no shadow is at work."""
    await asyncio.gather(*detector._shadowing)


def seen_of(seen: Sequence[Seen], version: str) -> list[Seen]:
    return [one for one in seen if one.version == version]


def test_each_frame_of_a_batch_goes_to_the_version_of_its_route_and_the_order_stays() -> None:
    detector = detector_of(VersionEngine("1.0.0", edge_px=10), VersionEngine("2.0.0", edge_px=20))
    dropped = Dropped(ref=make_ref(seq=9), reason=DropReason.SAMPLED)
    wanted = ["2.0.0", "1.0.0", "1.0.0", "2.0.0"]
    items: list[Any] = [sent_to(version, seq=seq) for seq, version in enumerate(wanted)]
    outcomes = asyncio.run(detector.detect([*items[:2], dropped, *items[2:], End()]))
    assert heights(outcomes) == [20, 10, 10, 20]
    assert routes(outcomes) == [route_to(version) for version in wanted]
    assert outcomes[2] is dropped
    assert isinstance(outcomes[5], End)
    assert [one.ref.seq for one in outcomes if isinstance(one, Detections)] == [0, 1, 2, 3]
    detector.close()


def test_frames_under_two_epochs_of_one_version_are_told_apart() -> None:
    detector = detector_of(VersionEngine("1.0.0"))
    outcomes = asyncio.run(detector.detect([sent_to("1.0.0", epoch=1), sent_to("1.0.0", seq=1, epoch=2)]))
    assert [route and route.epoch for route in routes(outcomes)] == [1, 2]
    assert {(one.epoch, one.traffic.answered) for one in detector.traffic.take()} == {(1, 1), (2, 1)}
    detector.close()


def test_a_frame_without_a_route_goes_to_the_first_version_and_counts_for_none() -> None:
    detector = detector_of(VersionEngine("1.0.0", edge_px=10), VersionEngine("2.0.0", edge_px=20))
    outcomes = asyncio.run(detector.detect([make_input()]))
    assert (heights(outcomes), routes(outcomes)) == ([10], [None])
    assert detector.traffic.take() == ()
    detector.close()


def test_a_frame_whose_version_has_gone_is_answered_by_the_first_and_says_so() -> None:
    detector = detector_of(VersionEngine("1.0.0", edge_px=10))
    outcomes = asyncio.run(detector.detect([sent_to("9.0.0", epoch=7)]))
    assert (heights(outcomes), routes(outcomes)) == ([10], [route_to("1.0.0", epoch=7)])
    assert [(one.version, one.epoch) for one in detector.traffic.take()] == [("1.0.0", 7)]
    detector.close()


@pytest.mark.parametrize("route", [route_to("9.0.0", size_px=32), route_to("1.0.0", model="another")])
def test_a_frame_that_does_not_fit_the_first_version_gets_an_error_that_says_to_come_again(route: Route) -> None:
    detector = detector_of(VersionEngine("1.0.0"))
    (outcome,) = asyncio.run(detector.detect([replace(make_input(), route=route)]))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnavailableError)
    detector.close()


def test_a_version_that_fails_fails_its_own_frames_only() -> None:
    broken = VersionEngine("2.0.0")
    broken.fails = ModelError("no")
    detector = detector_of(VersionEngine("1.0.0"), broken)
    outcomes = asyncio.run(detector.detect([sent_to("1.0.0"), sent_to("2.0.0", seq=1), sent_to("1.0.0", seq=2)]))
    assert [type(one) for one in outcomes] == [Detections, Failed, Detections]
    traffic = {one.version: one.traffic for one in detector.traffic.take()}
    assert (traffic["1.0.0"].answered, traffic["2.0.0"].errors) == (2, 1)
    detector.close()


def test_nobody_waits_for_a_shadow() -> None:
    async def scenario() -> None:
        shadow = VersionEngine("2.0.0", edge_px=20)
        shadow.gate.clear()
        detector = detector_of(VersionEngine("1.0.0", edge_px=10), shadow)
        outcomes = await detector.detect([sent_to("1.0.0", shadow="2.0.0")])
        assert heights(outcomes) == [10]
        assert seen_of(detector.traffic.take(), "2.0.0") == []
        shadow.gate.set()
        await shadows(detector)
        (seen,) = seen_of(detector.traffic.take(), "2.0.0")
        assert (seen.traffic.answered, seen.epoch) == (1, 1)
        detector.close()

    asyncio.run(scenario())


def test_a_shadow_that_is_behind_sees_no_more_until_it_has_caught_up() -> None:
    async def scenario() -> None:
        shadow = VersionEngine("2.0.0")
        shadow.gate.clear()
        detector = detector_of(VersionEngine("1.0.0"), shadow)
        for seq in range(9):
            await detector.detect([sent_to("1.0.0", seq=seq, shadow="2.0.0")])
            await asyncio.sleep(0)  # the shadow's task has taken its first step
        shadow.gate.set()
        await shadows(detector)
        assert sum(shadow.batches) == 2
        await detector.detect([sent_to("1.0.0", seq=10, shadow="2.0.0")])
        await shadows(detector)
        assert sum(shadow.batches) == 3
        detector.close()

    asyncio.run(scenario())


def test_what_a_shadow_fails_at_is_its_own_error_and_nobody_else_s() -> None:
    async def scenario() -> None:
        shadow = VersionEngine("2.0.0")
        shadow.fails = ModelError("no")
        detector = detector_of(VersionEngine("1.0.0"), shadow)
        outcomes = await detector.detect([sent_to("1.0.0", shadow="2.0.0")])
        await shadows(detector)
        assert [type(one) for one in outcomes] == [Detections]
        errors = {one.version: one.traffic.errors for one in detector.traffic.take()}
        assert errors == {"1.0.0": 0, "2.0.0": 1}
        detector.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("edge_px", "agreement"), [(10.0, 1.0), (40.0, 0.0)])
def test_a_shadow_is_held_against_what_answered(edge_px: float, agreement: float) -> None:
    async def scenario() -> None:
        detector = detector_of(VersionEngine("1.0.0", edge_px=10), VersionEngine("2.0.0", edge_px=edge_px))
        for seq in range(50):
            await detector.detect([sent_to("1.0.0", seq=seq, shadow="2.0.0")])
            await shadows(detector)
        (compared,) = [one for one in detector.traffic.take() if one.agreement is not None]
        assert (compared.version, compared.compared) == ("2.0.0", 50)
        assert compared.agreement == pytest.approx(agreement, abs=0.01)
        detector.close()

    asyncio.run(scenario())


def test_a_shadow_of_another_canvas_sees_nothing() -> None:
    async def scenario() -> None:
        shadow = VersionEngine("2.0.0", size_px=32)
        detector = detector_of(VersionEngine("1.0.0"), shadow)
        await detector.detect([sent_to("1.0.0", shadow="2.0.0")])
        await shadows(detector)
        assert shadow.batches == []
        detector.close()

    asyncio.run(scenario())


def test_removing_a_version_lets_what_runs_finish_ends_what_waits_and_closes_the_engine() -> None:
    async def scenario() -> None:
        engine = VersionEngine("2.0.0", edge_px=20)
        engine.gate.clear()
        detector = detector_of(VersionEngine("1.0.0", edge_px=10), engine)
        running = asyncio.create_task(detector.detect([sent_to("2.0.0")]))
        await asyncio.to_thread(engine.entered.acquire)
        waiting = asyncio.create_task(detector.detect([sent_to("2.0.0", seq=1)]))
        await asyncio.sleep(0)
        removing = asyncio.create_task(detector.remove("test", "2.0.0"))
        (ended,) = await waiting
        assert isinstance(ended, Failed)
        assert isinstance(ended.error, UnavailableError)
        assert not engine.is_closed
        assert heights(await detector.detect([sent_to("2.0.0", seq=2)])) == [10]  # it has gone for who comes now
        engine.gate.set()
        assert heights(await running) == [20]
        await removing
        assert engine.is_closed
        assert list(detector.versions) == [("test", "1.0.0")]
        detector.close()

    asyncio.run(scenario())


def test_another_version_is_the_first_one_when_the_first_has_gone() -> None:
    async def scenario() -> None:
        detector = detector_of(VersionEngine("1.0.0"), VersionEngine("2.0.0", edge_px=20))
        await detector.remove("test", "1.0.0")
        assert detector.first.spec.version == "2.0.0"
        assert heights(await detector.detect([make_input(), sent_to("1.0.0", seq=1)])) == [20, 20]
        detector.close()

    asyncio.run(scenario())


def test_when_the_last_version_has_gone_frames_are_told_to_come_again() -> None:
    async def scenario() -> None:
        detector = detector_of(VersionEngine("1.0.0"))
        await detector.remove("test", "1.0.0")
        for item in (make_input(), sent_to("1.0.0")):
            (outcome,) = await detector.detect([item])
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, UnavailableError)

    asyncio.run(scenario())


def test_removing_what_is_not_there_changes_nothing() -> None:
    detector = detector_of(VersionEngine("1.0.0"))
    asyncio.run(detector.remove("test", "9.0.0"))
    assert list(detector.versions) == [("test", "1.0.0")]
    detector.close()


def test_one_broken_engine_makes_the_stage_broken() -> None:
    engines = [VersionEngine("1.0.0"), VersionEngine("2.0.0")]
    detector = detector_of(*engines)
    assert not detector.is_broken
    engines[1].is_broken = True
    assert detector.is_broken
    detector.close()


def test_closing_gives_back_every_engine() -> None:
    engines = [VersionEngine("1.0.0"), VersionEngine("2.0.0")]
    detector_of(*engines).close()
    assert [engine.is_closed for engine in engines] == [True, True]
