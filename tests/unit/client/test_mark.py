"""Each event once, and where to go on."""

from dataclasses import replace

import pytest

from app.client import mark
from app.client.mark import ReadingMark
from app.core.result import FrameResult, Gap, LineCrossed
from tests.unit.contract.events import ON_A_LINE, make_result


def result(seq: int, *, epoch: int = 0) -> FrameResult:
    return make_result(seq=seq, epoch=epoch, event_id=f"cam:{epoch}:{seq}")


def test_an_event_is_new_once() -> None:
    reading = ReadingMark(-1)
    crossed = LineCrossed(**ON_A_LINE, event_id="cam:1:41:0", line="gate", direction="forward")  # type: ignore[arg-type]
    assert [reading.is_new(event) for event in (crossed, result(0), crossed, result(0), result(1))] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_connection_goes_on_after_the_last_result_and_not_after_other_events() -> None:
    reading = ReadingMark(4)
    reading.is_new(result(5))
    reading.is_new(LineCrossed(**{**ON_A_LINE, "seq": 6}, event_id="cam:0:6:0", line="gate", direction="forward"))  # type: ignore[arg-type]
    assert reading.since == 5


def test_numbers_that_begin_anew_with_an_epoch_are_followed() -> None:
    reading = ReadingMark(-1)
    reading.is_new(result(900))
    reading.is_new(result(0, epoch=1))
    assert reading.since == 0


def test_a_gap_stands_for_the_frames_in_it() -> None:
    reading = ReadingMark(3)
    reading.is_new(Gap(stream_id="cam", epoch=0, event_id="cam:0:gap:8", after_seq=3, next_seq=9, reason="history"))
    assert reading.since == 8


def test_a_refusal_is_told_every_time_and_moves_nothing() -> None:
    reading = ReadingMark(3)
    refused = replace(result(7), event_id="")
    assert reading.is_new(refused)
    assert reading.is_new(refused)
    assert reading.since == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark, "REMEMBERED", 10)
    reading = ReadingMark(-1)
    assert all(reading.is_new(result(seq)) for seq in range(100))
    assert len(reading._known) == 10
    assert not reading.is_new(result(95))
