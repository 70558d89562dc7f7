"""One version of a model and the queue before it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from app.core.errors import DeadlineError, InternalError, ModelError, OverloadedError, SightlineError, UnavailableError
from app.core.frame import Detections, ModelInput
from app.core.outcome import Failed, Outcome
from app.core.routing import Urgency
from app.pipeline.engine_slot import Opening
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.serving import Serving, ServingParameters
from app.policy.ladder import Rung
from tests.builders import make_input, make_ref
from tests.fakes import FakeEngine
from tests.unit.pipeline.version_parts import VersionEngine


def serving_of(engine: FakeEngine | GuardedEngine, **parameters: int) -> Serving:
    return Serving(engine, parameters=ServingParameters(**parameters))


def as_it_is(item: ModelInput) -> Outcome[ModelInput]:
    return item


async def detect(serving: Serving, items: Sequence[ModelInput]) -> list[Outcome[Detections]]:
    return await serving.detect(items, prepare=as_it_is)


def error_of(outcome: Outcome[Detections]) -> type[SightlineError]:
    assert isinstance(outcome, Failed)
    return type(outcome.error)


@pytest.mark.parametrize("policy", ["deadline", "formula-001", "state-machine-001"])
def test_every_policy_answers_every_frame_in_order(
    policy: Literal["deadline", "formula-001", "state-machine-001"],
) -> None:
    engine = FakeEngine()
    serving = Serving(engine, parameters=ServingParameters(policy=policy, max_batch=4))
    found = asyncio.run(detect(serving, [make_input(seq=seq) for seq in range(10)]))
    assert [one.ref.seq for one in found if isinstance(one, Detections)] == list(range(10))
    assert max(engine.batches) <= 4
    serving.close()


def test_frames_are_in_flight_from_their_call_to_their_answer() -> None:
    async def scenario() -> None:
        engine = VersionEngine("1.0.0")
        engine.gate.clear()
        serving = serving_of(engine)
        asked = asyncio.create_task(detect(serving, [make_input(seq=0), make_input(seq=1)]))
        await asyncio.sleep(0)
        assert serving.in_flight == 2
        engine.gate.set()
        await asked
        assert serving.in_flight == 0
        serving.close()

    asyncio.run(scenario())


def test_who_leaves_is_in_flight_no_longer() -> None:
    async def scenario() -> None:
        engine = VersionEngine("1.0.0")
        engine.gate.clear()
        serving = serving_of(engine)
        asked = asyncio.create_task(detect(serving, [make_input()]))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert serving.in_flight == 0
        engine.gate.set()
        serving.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("raised", "kind"), [(ModelError("no"), ModelError), (RuntimeError("inside"), InternalError)])
def test_an_engine_s_failure_is_a_typed_one(raised: Exception, kind: type[SightlineError]) -> None:
    engine = FakeEngine()
    engine.fails = raised
    serving = serving_of(engine)
    (outcome,) = asyncio.run(detect(serving, [make_input()]))
    assert error_of(outcome) is kind
    serving.close()


def test_what_cannot_be_prepared_reaches_no_engine_and_leaves_its_neighbours_alone() -> None:
    async def scenario() -> None:
        engine = FakeEngine()
        serving = serving_of(engine)
        broken = Failed(ref=make_ref(seq=1), error=ModelError("no picture"))
        items = [make_input(seq=seq) for seq in range(3)]
        found = await serving.detect(items, prepare=lambda item: broken if item.ref.seq == 1 else item)
        assert [type(one) for one in found] == [Detections, Failed, Detections]
        assert sum(engine.batches) == 2
        serving.close()

    asyncio.run(scenario())


def test_a_frame_whose_preparation_breaks_fails_alone() -> None:
    def prepare(item: ModelInput) -> Outcome[ModelInput]:
        return item if item.ref.seq != 1 else _broken()

    serving = serving_of(FakeEngine())
    found = asyncio.run(serving.detect([make_input(seq=seq) for seq in range(3)], prepare=prepare))
    assert [type(one) for one in found] == [Detections, Failed, Detections]
    assert error_of(found[1]) is InternalError
    serving.close()


def _broken() -> ModelInput:
    raise RuntimeError("no canvas")


def test_too_many_frames_are_refused_with_a_time_to_come_again() -> None:
    async def scenario() -> None:
        engine = VersionEngine("1.0.0")
        engine.gate.clear()
        serving = serving_of(engine, max_waiting=2, max_batch=1)
        running = asyncio.create_task(detect(serving, [make_input()]))
        await asyncio.to_thread(engine.entered.acquire)
        waiting = asyncio.create_task(detect(serving, [make_input(seq=seq) for seq in range(1, 6)]))
        await asyncio.sleep(0)
        engine.gate.set()
        assert isinstance((await running)[0], Detections)
        kinds = [type(one) for one in await waiting]
        assert (kinds.count(Detections), kinds.count(Failed)) == (2, 3)
        assert {error_of(one) for one in await waiting if isinstance(one, Failed)} == {OverloadedError}
        serving.close()

    asyncio.run(scenario())


def test_a_frame_whose_deadline_has_passed_is_not_computed() -> None:
    engine = FakeEngine()
    serving = serving_of(engine)
    late = replace(make_input(), urgency=Urgency(due_at=time.time() - 1.0))
    (outcome,) = asyncio.run(detect(serving, [late]))
    assert error_of(outcome) is DeadlineError
    assert engine.batches == []
    serving.close()


def test_an_answer_says_how_long_it_waited_and_what_degraded_it() -> None:
    engines = [Opening(rung=Rung.ONNX_CUDA, open=_lost), Opening(rung=Rung.ONNX_CPU, open=FakeEngine)]
    serving = serving_of(GuardedEngine(engines))
    (found,) = asyncio.run(detect(serving, [make_input()]))
    assert isinstance(found, Detections)
    assert found.degraded is not None
    assert min(found.timings.queue_s, found.timings.inference_s, found.timings.postprocess_s) >= 0
    serving.close()


def _lost() -> FakeEngine:
    raise UnavailableError("no such device")


def test_closing_ends_what_waits_and_whoever_comes_later() -> None:
    async def scenario() -> None:
        engine = VersionEngine("1.0.0")
        engine.gate.clear()
        serving = serving_of(engine, max_batch=1)
        running = asyncio.create_task(detect(serving, [make_input()]))
        await asyncio.to_thread(engine.entered.acquire)
        waiting = asyncio.create_task(detect(serving, [make_input(seq=1)]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(serving.close))
        assert error_of((await waiting)[0]) is UnavailableError
        engine.gate.set()
        assert isinstance((await running)[0], Detections)
        await closing
        assert engine.is_closed
        assert error_of((await detect(serving, [make_input(seq=2)]))[0]) is UnavailableError

    asyncio.run(scenario())
