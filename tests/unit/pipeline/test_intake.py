"""The door of a live stream: nothing lost, nothing twice, nothing out of order, whatever happens behind it."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.core.errors import UnavailableError
from app.core.frame import EncodedFrame, FrameRef
from app.core.ledger import Ledger
from app.core.outcome import DropReason
from app.core.result import FrameResult, Status, Summary
from app.core.video import FrameMode
from app.pipeline.intake import StreamIntake

GONE = UnavailableError("the worker is gone")
MODES = list(FrameMode)


def frame(seq: int, *, pts_s: float | None = None) -> EncodedFrame:
    return EncodedFrame(data=b"jpeg", ref=FrameRef(stream_id="s", seq=seq, pts_s=pts_s))


def answer(taken: EncodedFrame) -> FrameResult:
    ref = taken.ref
    return FrameResult(
        stream_id=ref.stream_id,
        epoch=ref.epoch,
        seq=ref.seq,
        event_id=f"{ref.stream_id}:{ref.epoch}:{ref.seq}",
        status=Status.RESULT,
    )


def intake(
    mode: FrameMode = FrameMode.EVERY_FRAME,
    *,
    depth: int = 3,
    max_taken: int = 2,
    kind: type[StreamIntake] = StreamIntake,
) -> StreamIntake:
    fps = 10.0 if mode is FrameMode.TARGET_FPS else None
    return kind("s", mode=mode, fps=fps, depth=depth, max_taken=max_taken)


def ends(results: Iterable[FrameResult]) -> list[tuple[int, str]]:
    return [(end.seq, end.reason or end.status.value) for end in results]


def test_ends_leave_in_the_order_of_capture() -> None:
    door = intake()
    assert [door.offer(frame(seq)) for seq in (4, 5)] == [[], []]
    first, second = door.take()
    assert door.settle([answer(second)]) == []
    assert ends(door.settle([answer(first)])) == [(4, "result"), (5, "result")]


def test_latest_frame_drops_the_oldest_that_waits_and_every_frame_the_new_one() -> None:
    ended = {}
    for mode in (FrameMode.LATEST_FRAME, FrameMode.EVERY_FRAME):
        door = intake(mode)
        ended[mode] = [end for seq in range(4) for end in ends(door.offer(frame(seq)))]
    assert ended[FrameMode.LATEST_FRAME] == [(0, "superseded")]
    assert ended[FrameMode.EVERY_FRAME] == []  # frame 3 ended, and leaves after those before it
    assert ends(door.close(GONE)) == [(0, "unavailable"), (1, "unavailable"), (2, "unavailable"), (3, "overloaded")]


def test_target_fps_counts_what_is_not_due() -> None:
    door = intake(FrameMode.TARGET_FPS, depth=30)
    for seq in range(30):
        door.offer(frame(seq, pts_s=seq / 30))
    door.close(GONE)
    assert door.summary().dropped == {"sampled": 20}


def test_a_frame_sent_again_is_not_captured_twice() -> None:
    door = intake()
    door.offer(frame(7))
    assert door.offer(frame(7)) == door.offer(frame(6)) == []
    assert (door.summary().captured, door.last_seq) == (1, 7)


def test_an_end_of_another_epoch_changes_nothing() -> None:
    door = intake()
    door.offer(frame(0))
    (taken,) = door.take()
    assert door.settle([replace(answer(taken), epoch=1)]) == []
    assert door.fenced == 1
    assert ends(door.settle([answer(taken)])) == [(0, "result")]


def test_a_frame_lost_on_its_way_is_captured_and_ends_as_dropped() -> None:
    door = intake()
    assert ends(door.offer(frame(0), dropped=DropReason.OVERLOADED)) == [(0, "overloaded")]
    assert door.summary().dropped == {"overloaded": 1}
    assert door.take() == []


def test_an_account_goes_on_where_an_earlier_one_stood() -> None:
    ledger = Ledger(answered=3, dropped={"sampled": 2}, errors={"undecodable": 1})
    door = StreamIntake(
        "s", mode=FrameMode.EVERY_FRAME, fps=None, depth=3, max_taken=2, ledger=ledger, last_seq=9, epoch=4
    )
    assert door.offer(frame(9)) == []
    door.offer(frame(10))
    (taken,) = door.take()
    assert (taken.ref.epoch, door.summary().captured, door.summary().in_flight) == (4, 7, 1)


@dataclass
class Checker:
    """What a consumer outside can see and must never see."""

    captured: int = 0
    seen: list[int] = field(default_factory=list)
    buckets: Counter[str] = field(default_factory=Counter)

    def note(self, results: Iterable[FrameResult]) -> None:
        for end in results:
            assert not self.seen or end.seq > self.seen[-1], "a frame left twice or out of order"
            self.seen.append(end.seq)
            self.buckets[end.status.value] += 1

    def balance(self, summary: Summary) -> None:
        dropped, errors = sum(summary.dropped.values()), sum(summary.errors.values())
        assert summary.captured == self.captured
        assert summary.captured == summary.answered + dropped + errors + summary.in_flight
        assert (summary.answered, dropped, errors) == (
            self.buckets["result"],
            self.buckets["dropped"],
            self.buckets["error"],
        )
        assert summary.in_flight == self.captured - len(self.seen), "a frame was lost"


class World:
    """One stream with everything that may happen to it: delay, reordering, repeats, kills, cuts, a slow worker."""

    def __init__(self, mode: FrameMode, kind: type[StreamIntake] = StreamIntake) -> None:
        self.door = intake(mode, kind=kind)
        self.checker = Checker()
        self.working: list[EncodedFrame] = []
        self.ghosts: list[EncodedFrame] = []  # of owners that were declared dead and go on working
        self.seq = 0

    def capture(self, *, leap: int = 1) -> None:
        self.seq += leap
        self.checker.captured += 1
        self.checker.note(self.door.offer(frame(self.seq, pts_s=self.seq / 30)))

    def resend(self, *, back: int) -> None:
        if self.seq >= back:
            self.checker.note(self.door.offer(frame(self.seq - back)) if self.checker.captured else [])

    def work(self) -> None:
        self.working += self.door.take()

    def finish(self, *, index: int, times: int) -> None:
        if self.working:
            done = answer(self.working.pop(index % len(self.working)))
            self.checker.note(self.door.settle([done] * times))

    def kill(self) -> None:
        self.ghosts += self.working
        self.working = []
        self.checker.note(self.door.lose(GONE))

    def haunt(self, *, index: int) -> None:
        if self.ghosts:
            self.checker.note(self.door.settle([answer(self.ghosts[index % len(self.ghosts)])]))

    def step(self, chance: random.Random) -> None:
        match chance.choices(range(6), weights=[30, 5, 25, 30, 1, 5])[0]:
            case 0:
                self.capture(leap=chance.choice((1, 1, 1, 2, 50)))
            case 1:
                self.resend(back=chance.randrange(5))
            case 2:
                self.work()
            case 3:
                self.finish(index=chance.randrange(9), times=chance.choice((1, 1, 2)))
            case 4:
                self.kill()
            case _:
                self.haunt(index=chance.randrange(99))
        self.checker.balance(self.door.summary())

    def end(self) -> None:
        self.checker.note(self.door.close(GONE))
        self.checker.balance(self.door.summary())
        assert self.door.summary().in_flight == 0


def live(mode: FrameMode, *, events: int, kind: type[StreamIntake] = StreamIntake) -> World:
    chance = random.Random(20261123)
    world = World(mode, kind)
    for _ in range(events):
        world.step(chance)
    world.end()
    return world


@pytest.mark.parametrize("mode", MODES)
def test_the_account_balances_at_each_of_100_000_events(mode: FrameMode) -> None:
    world = live(mode, events=100_000 // len(MODES) + 1)
    assert len(world.checker.seen) == world.checker.captured > 5_000
    assert min(world.checker.buckets.values()) > 100
    assert world.door.fenced > 100


class Loses(StreamIntake):
    def _release(self) -> list[FrameResult]:
        released = super()._release()
        return released if not released or released[0].seq % 100 else released[1:]


class Doubles(StreamIntake):
    def _release(self) -> list[FrameResult]:
        released = super()._release()
        return released if not released or released[0].seq % 100 else [*released, released[-1]]


class Swaps(StreamIntake):
    def _release(self) -> list[FrameResult]:
        return super()._release()[::-1]


@pytest.mark.parametrize("fault", [Loses, Doubles, Swaps])
def test_a_planted_fault_is_caught(fault: type[StreamIntake]) -> None:
    with pytest.raises(AssertionError):
        live(FrameMode.EVERY_FRAME, events=20_000, kind=fault)


class AnyOrder(RuleBasedStateMachine):
    """The same world, its events chosen by hypothesis, which shortens a failing history to its core."""

    mode: ClassVar[FrameMode] = FrameMode.LATEST_FRAME

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.mode)

    @rule(leap=st.integers(1, 70_000))
    def capture(self, leap: int) -> None:
        self.world.capture(leap=leap)

    @rule(back=st.integers(0, 5))
    def resend(self, back: int) -> None:
        self.world.resend(back=back)

    @rule()
    def work(self) -> None:
        self.world.work()

    @precondition(lambda self: self.world.working)
    @rule(index=st.integers(0, 9), times=st.integers(1, 3))
    def finish(self, index: int, times: int) -> None:
        self.world.finish(index=index, times=times)

    @rule()
    def kill(self) -> None:
        self.world.kill()

    @precondition(lambda self: self.world.ghosts)
    @rule(index=st.integers(0, 99))
    def haunt(self, index: int) -> None:
        self.world.haunt(index=index)

    @invariant()
    def balances(self) -> None:
        self.world.checker.balance(self.world.door.summary())

    def teardown(self) -> None:
        self.world.end()


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, derandomize=True)
TestAnyOrder = AnyOrder.TestCase
