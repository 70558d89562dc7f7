"""Faults of a GPU in a running service, over HTTP and under light load: found, told, survived, and over in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeAlias

import pytest

from app.policy.fault_plan import MAX_DETECTION_S, MAX_RECOVERY_S
from load_tests.fault_account import FaultRecord, FaultVerdict, judge_fault
from load_tests.service import running
from load_tests.swaps_live import MARKS, settings
from tests.ray.fault_callers import Callers, Served, calling

pytestmark = [pytest.mark.ray, pytest.mark.nightly, pytest.mark.timeout(180)]
Scene: TypeAlias = Callable[[Callers], Awaitable[tuple[float, float]]]
FIRST, SECOND, THIRD = (mark.version for mark in MARKS[:3])
LATE_S: Final = MAX_DETECTION_S + 1


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config, versions = settings(tmp_path_factory.mktemp("store"), grace_s=0.5, gone_after_s=4.0)
    arguments = config["applications"][0]["args"]
    arguments["model"] |= {"engine": "fake-gpu", "degrade": True, "max_batch": 2, "slo_s": 0.15}
    arguments["faults"] = True
    with running(config) as service:
        yield Served(service, versions)


def during(served: Served, scene: Scene) -> tuple[FaultVerdict, FaultRecord]:
    """The verdict on a scene, which tells when its fault first met somebody and when it was over."""

    async def whole() -> tuple[FaultRecord, float, float]:
        async with calling(served) as callers:
            struck_s, over_s = await scene(callers)
        return callers.record, struck_s, over_s

    record, struck_s, over_s = asyncio.run(whole())
    return judge_fault(record, struck_s=struck_s, over_s=over_s), record


def whys(record: FaultRecord) -> set[str]:
    """What answers say was given up."""
    return {one.why for one in record.answers if one.why is not None}


def planted_for_a_while(**fault: object) -> Scene:
    """A fault that is taken back as soon as it was noticed."""

    async def scene(callers: Callers) -> tuple[float, float]:
        fault_id = await callers.plant(**fault)
        struck_s = time.monotonic()
        await callers.found(after_s=struck_s, within_s=LATE_S)
        over_s = await callers.take_back(fault_id)
        await callers.calm(after_s=over_s)
        return struck_s, over_s

    return scene


def test_a_gpu_without_memory_is_told_of_and_the_service_is_as_it_was_soon_after(served: Served) -> None:
    verdict, record = during(served, planted_for_a_while(kind="gpu_oom", share=1.0))
    assert verdict.is_well, verdict
    assert any(why.startswith("onnxruntime_cpu: ") and "memory" in why for why in whys(record)), whys(record)


def test_kernels_that_are_far_too_slow_are_answered_by_giving_up_less_and_that_is_told(served: Served) -> None:
    verdict, record = during(served, planted_for_a_while(kind="slow_kernel", factor=25.0))
    assert verdict.is_well, verdict
    assert any("fewer_frames: frames wait" in why for why in whys(record)), whys(record)


def test_a_link_that_falls_back_is_no_harm_to_a_load_that_is_light(served: Served) -> None:
    async def scene(callers: Callers) -> tuple[float, float]:
        fault_id = await callers.plant(kind="link_degradation", generation=1, lanes=1)
        struck_s = time.monotonic()
        await asyncio.sleep(1.5)
        over_s = await callers.take_back(fault_id)
        await callers.calm(after_s=over_s)
        return struck_s, over_s

    verdict, record = during(served, scene)
    assert verdict.is_honest, verdict
    assert not any("onnxruntime" in why for why in whys(record)), whys(record)
    assert verdict.recovery_s <= MAX_RECOVERY_S


def test_versions_that_are_loaded_under_a_fault_answer_from_the_next_engine_until_it_is_over(served: Served) -> None:
    found_s: dict[str, float] = {}

    async def scene(callers: Callers) -> tuple[float, float]:
        routed_s: list[float] = []
        for kind, version in (("engine_load_failure", SECOND), ("corrupt_plan", THIRD)):
            fault_id = await callers.plant(kind=kind)
            await callers.operator.load(version)
            over_s = await callers.take_back(fault_id)
            answer = await callers.operator.route(weights={version: 1.0})
            assert answer.status_code == 200, answer.text
            routed_s.append(time.monotonic())
            found_s[version] = await callers.found(after_s=routed_s[-1], within_s=LATE_S, version=version)
        await callers.calm(after_s=over_s)
        return routed_s[0], over_s

    verdict, record = during(served, scene)
    assert verdict.is_well, verdict
    assert max(found_s.values()) <= MAX_DETECTION_S, found_s
    told = {(one.version, (one.why or "").partition(":")[0]) for one in record.answers if one.why is not None}
    assert told >= {(SECOND, "onnxruntime_cpu"), (THIRD, "onnxruntime_cuda")}


@pytest.mark.parametrize("kind", ["sticky_error", "context_loss"])
def test_a_lost_context_ends_the_replica_and_another_takes_over(served: Served, kind: str) -> None:
    async def scene(callers: Callers) -> tuple[float, float]:
        await callers.plant(kind=kind)
        struck_s = time.monotonic()
        await callers.until(lambda: not all(is_there for _, is_there in callers.record.able), within_s=8)
        await callers.calm(after_s=time.monotonic(), within_s=MAX_RECOVERY_S + 10)
        return struck_s, struck_s

    verdict, _ = during(served, scene)
    assert verdict.is_well, verdict
