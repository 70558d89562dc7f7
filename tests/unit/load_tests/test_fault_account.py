"""The account of a fault in a running service sees everything that could be wrong with it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from load_tests.fault_account import Answer, FaultRecord, FaultVerdict, Look, answer_of, content_of, judge_fault
from load_tests.swap_models import Mark, score_of

MARKS = {Mark(n=n).version: Mark(n=n) for n in range(2)}
CPU = "onnxruntime_cpu: the GPU has no memory left for this"


def answer(at_s: float, **others: Any) -> Answer:
    return Answer(**{"begun_s": at_s - 0.05, "ended_s": at_s, "code": "result", "objects": "[]", **others})


def good() -> FaultRecord:
    """Struck at 1 s, over at 3 s, everybody well from 4 s on."""
    return FaultRecord(
        answers=[answer(0.5, seq=0), answer(1.2, seq=1, why=CPU), answer(4.0, why=CPU), answer(5.0, seq=2)],
        looks=[Look(begun_s=at_s, ended_s=at_s + 0.1, is_ready=at_s != 2.0) for at_s in (0.0, 2.0, 4.0)],
        able=[(0.1, True), (1.9, True), (2.0, False), (2.5, True), (4.05, True)],
        events={0: ["[]"], 1: ["[]"], 2: ["[]"]},
    )


def judged(record: FaultRecord) -> FaultVerdict:
    return judge_fault(record, struck_s=1.0, over_s=3.0)


def test_a_fault_that_was_found_told_and_over_in_time_is_well() -> None:
    verdict = judged(good())
    assert verdict.is_well
    assert verdict.detection_s == pytest.approx(0.2)
    assert verdict.recovery_s == pytest.approx(1.0)


def forget(record: FaultRecord) -> None:
    del record.events[1]


def tell_twice(record: FaultRecord) -> None:
    record.events[1] *= 2


def tell_otherwise(record: FaultRecord) -> None:
    record.events[2] = ["[1]"]


def answer_nonsense(record: FaultRecord) -> None:
    record.answers.append(answer(5.0, is_right=False))


def break_down(record: FaultRecord) -> None:
    record.answers.append(answer(2.0, code="internal"))


def say_nothing_of_why(record: FaultRecord) -> None:
    record.answers.append(answer(2.0, why=""))


def name_no_rung(record: FaultRecord) -> None:
    record.answers.append(answer(2.0, why=f"{CPU}; because"))


def name_the_first_engine(record: FaultRecord) -> None:
    record.answers.append(answer(2.0, why="tensorrt: is fine"))


def call_ready_what_is_not_there(record: FaultRecord) -> None:
    record.able[:] = [(at_s, at_s < 2) for at_s, _ in record.able]


def stay_silent(record: FaultRecord) -> None:
    record.answers[:] = [replace(one, why=None) for one in record.answers]
    record.looks[:] = [replace(one, is_ready=True) for one in record.looks if one.begun_s != 2.0]


def find_late(record: FaultRecord) -> None:
    record.answers[1] = replace(record.answers[1], begun_s=3.2, ended_s=3.3)
    record.looks.pop(1)


def stay_degraded(record: FaultRecord) -> None:
    record.answers.append(answer(24.1, why=CPU))


def stay_unready(record: FaultRecord) -> None:
    record.looks.append(Look(begun_s=24.0, ended_s=24.1, is_ready=False))


def stay_slow(record: FaultRecord) -> None:
    record.answers.append(answer(24.1, begun_s=22.0))


@pytest.mark.parametrize(
    "plant",
    [
        forget,
        tell_twice,
        tell_otherwise,
        answer_nonsense,
        break_down,
        say_nothing_of_why,
        name_no_rung,
        name_the_first_engine,
        call_ready_what_is_not_there,
        stay_silent,
        find_late,
        stay_degraded,
        stay_unready,
        stay_slow,
    ],
)
def test_whatever_is_wrong_is_seen(plant: Any) -> None:
    record = good()
    plant(record)
    assert not judged(record).is_well


def test_a_typed_refusal_is_a_sign_and_no_harm() -> None:
    record = good()
    record.answers.append(answer(1.1, code="overloaded", seq=7))
    assert judged(record).is_honest
    assert judged(record).detection_s == pytest.approx(0.1)


def body_of(mark: Mark, **others: Any) -> bytes:
    found = {"box": list(mark.box), "score": score_of(0.5)}
    told = {"status": "result", "seq": 3, "degraded": False, "model": {"version": mark.version}, "objects": [found]}
    return json.dumps({**told, **others}).encode()


def read(status: int, body: bytes) -> Answer:
    return answer_of(status, body, times_s=(0.0, 1.0), brightness=0.5, marks=MARKS)


def test_an_answer_is_held_against_what_its_version_would_say_of_that_picture() -> None:
    good_one = read(200, body_of(Mark(n=1)))
    assert (good_one.code, good_one.seq, good_one.why, good_one.is_right) == ("result", 3, None, True)
    assert good_one.objects == content_of(json.loads(body_of(Mark(n=1))))
    assert not read(200, body_of(Mark(n=1), model={"version": "1.0.0"})).is_right
    assert not read(200, body_of(Mark(n=1), objects=[])).is_right
    dim = {"box": list(Mark(n=1).box), "score": score_of(0.1)}
    assert not read(200, body_of(Mark(n=1), objects=[dim])).is_right
    assert read(200, body_of(Mark(n=1), degraded=True)).why == ""
    assert read(200, body_of(Mark(n=1), degraded=True, degraded_reason=CPU)).why == CPU


def test_errors_are_read_by_their_code_wherever_it_stands() -> None:
    assert read(503, b'{"code": "unavailable"}').code == "unavailable"
    assert read(200, b'{"status": "error", "reason": "overloaded", "seq": 4}').code == "overloaded"
    assert read(502, b"<html>").code == "502 without a problem of ours"
    assert read(200, b"[]").code == "200 without a problem of ours"
