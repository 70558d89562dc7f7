"""What an overloaded model is spared, frame by frame, and who is never asked to give anything up."""

import asyncio
import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import OverloadedError
from app.core.frame import Detections, ModelInput
from app.core.model import Head, ModelSpec
from app.core.outcome import Dropped, DropReason, Failed, Outcome
from app.core.ports import RawOutput
from app.core.routing import MAX_PRIORITY, Urgency
from app.pipeline.detector import Detector
from app.pipeline.easing import LOOK_S, Eased, Easing
from app.pipeline.engine_slot import Opening, Pictures
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.serving import Serving, ServingParameters
from app.policy.ladder import Relief, Rung
from tests.builders import make_input, make_ref, make_spec
from tests.fakes import ManualClock
from tests.unit.pipeline.version_parts import VersionEngine, route_to

PRESSED = 3
"""Looks at a queue that is too old, from which on a step is taken."""
WORDS = "frames wait longer than 0.15 s for the model"


class AnySize:
    """Sees one object that fills the left half of any canvas; notes their sizes."""

    streams = 1

    def __init__(self) -> None:
        self.spec: ModelSpec = make_spec(head=Head.END_TO_END)
        self.sizes: list[tuple[int, ...]] = []

    def infer(self, pixels: Pictures) -> RawOutput:
        self.sizes += [canvas.shape for canvas in pixels]
        rows = [[[0.0, 0.0, canvas.shape[1] / 2, canvas.shape[0], 0.9, 0.0]] for canvas in pixels]
        return np.asarray(rows, dtype=np.float32)

    def close(self) -> None:
        pass


class Rig:
    """One version under a load that the test makes up."""

    def __init__(self, *, has_smaller: bool = True) -> None:
        self.clock = ManualClock()
        self.engine = AnySize()
        smaller = make_spec(head=Head.END_TO_END, size_px=32) if has_smaller else None
        opening = Opening(rung=Rung.ONNX_CPU, open=lambda: self.engine)
        self.guard = GuardedEngine([opening], smaller=smaller, clock=self.clock)
        self.serving = Serving(self.guard, parameters=ServingParameters())

    def press(self, *, steps: int = 1) -> None:
        """Frames wait too long, until so many steps were taken."""
        self.looks(1.0, count=PRESSED + 6 * (steps - 1))

    def looks(self, queue_age_s: float, *, count: int) -> None:
        for _ in range(count):
            self.guard.look(queue_age_s=queue_age_s)
            self.clock.now_s += 0.25

    def detect(self, *items: ModelInput) -> list[Outcome[Detections]]:
        return asyncio.run(self.serving.detect(items, prepare=lambda item: item))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def of_stream(*, seq: int = 0, priority: int = 5, stream_id: str = "s") -> ModelInput:
    urgency = Urgency(priority=priority, share=stream_id)
    return replace(make_input(seq=seq), ref=make_ref(stream_id=stream_id, seq=seq), urgency=urgency)


def kinds(outcomes: list[Outcome[Detections]]) -> list[str]:
    return [one.reason.value if isinstance(one, Dropped) else type(one).__name__ for one in outcomes]


def answer(outcome: Outcome[Detections]) -> Detections:
    assert isinstance(outcome, Detections)
    return outcome


def test_without_pressure_nothing_is_given_up(rig: Rig) -> None:
    found = rig.detect(*(of_stream(seq=seq, priority=0) for seq in range(4)))
    assert [answer(one).degraded for one in found] == [None] * 4
    assert set(rig.engine.sizes) == {(64, 64, 3)}


def test_under_pressure_pictures_are_seen_smaller_and_boxes_are_where_they_were(rig: Rig) -> None:
    before = answer(rig.detect(of_stream())[0])
    rig.press()
    after = answer(rig.detect(of_stream())[0])
    assert rig.engine.sizes == [(64, 64, 3), (32, 32, 3)]
    assert after.degraded == f"smaller_input: {WORDS}"
    assert np.allclose(after.xyxy, before.xyxy)


def test_a_model_of_one_size_gets_fewer_frames_first() -> None:
    rig = Rig(has_smaller=False)
    rig.press()
    found = rig.detect(*(of_stream(seq=seq) for seq in range(4)))
    assert kinds(found) == ["Detections", "sampled", "Detections", "sampled"]
    assert answer(found[0]).degraded == f"fewer_frames: {WORDS}"
    assert set(rig.engine.sizes) == {(64, 64, 3)}


def test_every_second_frame_is_counted_by_stream_and_not_by_its_number(rig: Rig) -> None:
    rig.press(steps=2)
    odd = [of_stream(seq=seq) for seq in (1, 3, 5, 7)]
    other = [of_stream(seq=seq, stream_id="t") for seq in (1, 3)]
    assert kinds(rig.detect(*odd, *other)) == ["Detections", "sampled"] * 3


def test_alarms_keep_every_frame(rig: Rig) -> None:
    rig.press(steps=4)
    assert kinds(rig.detect(*(of_stream(seq=seq, priority=MAX_PRIORITY) for seq in range(3)))) == ["Detections"] * 3


def test_at_last_low_priorities_are_shed_streams_as_drops_and_requests_with_a_time_to_come_again(rig: Rig) -> None:
    rig.press(steps=3)
    request = replace(make_input(), urgency=Urgency(priority=1, due_at=4e9))
    low, higher, refused = rig.detect(of_stream(priority=1), of_stream(seq=1, priority=2), request)
    assert kinds([low, higher]) == [DropReason.OVERLOADED.value, "Detections"]
    assert answer(higher).degraded == f"shed: {WORDS}"
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, OverloadedError)
    assert refused.error.retry_after_s > 1.0


def test_stills_without_a_deadline_and_files_are_answered_in_full_behind_the_others(rig: Rig) -> None:
    rig.press(steps=9)
    found = rig.detect(*(make_input(seq=seq) for seq in range(4)))
    assert [answer(one).degraded for one in found] == [None] * 4
    assert set(rig.engine.sizes) == {(64, 64, 3)}
    eased = rig.serving.easing.eased(make_input())
    assert eased == Eased(relief=Relief(), urgency=Urgency(priority=0))


def test_after_calm_all_is_as_before(rig: Rig) -> None:
    rig.press(steps=3)
    rig.looks(0.0, count=40)
    found = rig.detect(*(of_stream(seq=seq, priority=0) for seq in range(3)))
    assert [answer(one).degraded for one in found] == [None] * 3


def test_one_who_waits_too_long_is_seen_and_a_file_that_waits_is_not() -> None:
    async def waited_s(item: ModelInput) -> float:
        engine = VersionEngine("1.0.0")
        engine.gate.clear()
        serving = Serving(engine, parameters=ServingParameters(max_batch=1))
        first = asyncio.create_task(serving.detect([make_input()], prepare=lambda one: one))
        await asyncio.to_thread(engine.entered.acquire)
        second = asyncio.create_task(serving.detect([item], prepare=lambda one: one))
        await asyncio.sleep(0)
        found = serving._queue.take_wait_s()
        engine.gate.set()
        await asyncio.gather(first, second)
        serving.close()
        return found

    assert asyncio.run(waited_s(of_stream())) > 0
    assert asyncio.run(waited_s(make_input())) == 0


class SawTooth:
    """A queue whose frames wait 0.4 s, and of which every second look sees nothing."""

    def __init__(self) -> None:
        self._waits_s = itertools.cycle((0.4, 0.05))

    def take_wait_s(self) -> float:
        return next(self._waits_s)

    def take_missed(self) -> int:
        return 0


def test_a_queue_that_empties_with_every_batch_and_is_late_with_each_is_overloaded(rig: Rig) -> None:
    easing = Easing(rig.guard, SawTooth(), is_on=False)
    for _ in range(PRESSED + 1):
        easing.look()
        rig.clock.now_s += LOOK_S
    assert rig.guard.degraded == f"smaller_input: {WORDS}"


def test_it_looks_by_itself_only_where_it_is_wanted() -> None:
    names = {thread.name for thread in threading.enumerate()}
    serving = Serving(VersionEngine("1.0.0"), parameters=ServingParameters())
    assert "easing" not in {thread.name for thread in threading.enumerate()} - names
    serving.close()
    serving = Serving(VersionEngine("1.0.0"), parameters=ServingParameters(degrade=True))
    assert "easing" in {thread.name for thread in threading.enumerate()}
    serving.close()
    assert "easing" not in {thread.name for thread in threading.enumerate()} - names


def test_a_shadow_is_not_held_against_answers_that_saw_less(rig: Rig) -> None:
    async def compared(rig: Rig) -> int:
        detector = Detector(rig.guard, parameters=ServingParameters())
        shadow = VersionEngine("2.0.0")
        detector.add(shadow)
        frame = replace(of_stream(), route=route_to("1.0.0", shadow="2.0.0"))
        await detector.detect([frame])
        await asyncio.gather(*detector._shadowing)
        seen = sum(shadow.batches)
        detector.close()
        return seen

    assert asyncio.run(compared(Rig())) == 1
    rig.press()
    assert asyncio.run(compared(rig)) == 0
