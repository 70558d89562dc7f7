"""The checker of scenario `streams`: a good account passes, and each planted fault is found."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from load_tests.streams_account import Account, crossing_error, differing_frames, faults

STREAM = "0123"
FRAMES = 5


def result(seq: int, **changes: Any) -> dict[str, Any]:
    found = {"label": "person", "box": [10.0 * seq, 0.0, 20.0, 20.0], "track_id": 1}
    whole = {"schema": "sightline.v1.FrameResult", "stream_id": STREAM, "epoch": 0, "seq": seq, "status": "result"}
    return {**whole, "event_id": f"{STREAM}:0:{seq}", "objects": [found], **changes}


def crossed(seq: int, line: str = "along") -> dict[str, Any]:
    event = {"schema": "sightline.v1.LineCrossed", "stream_id": STREAM, "epoch": 0, "seq": seq, "track_id": 1}
    return {**event, "event_id": f"{STREAM}:0:{seq}:0", "line": line, "direction": "forward"}


def account(*events: dict[str, Any]) -> Account:
    lines = [json.dumps(event).encode() for event in events]
    answers = {event["seq"]: json.dumps(event).encode() for event in events if "status" in event}
    closing = {"captured": FRAMES, "answered": FRAMES, "dropped": {}, "errors": {}, "in_flight": 0}
    return Account(stream_id=STREAM, answers=answers, live=list(lines), log=list(lines), closing=closing)


def good() -> Account:
    return account(result(0), result(1), crossed(2), result(2), result(3), result(4))


def rewrite(line: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode()


def lose_a_frame(told: Account) -> None:
    del told.live[1]


def lose_a_frame_of_the_log(told: Account) -> None:
    del told.log[1]


def lose_an_answer(told: Account) -> None:
    del told.answers[3]


def leave_a_frame_in_flight(told: Account) -> None:
    told.closing |= {"answered": FRAMES - 1, "in_flight": 1}


def double_a_frame(told: Account) -> None:
    told.live.insert(2, told.live[1])


def double_a_crossing(told: Account) -> None:
    told.log.insert(3, told.log[2])


def double_a_frame_under_another_id(told: Account) -> None:
    told.live.insert(2, rewrite(told.live[1], event_id=f"{STREAM}:1:1"))


def swap_two_frames(told: Account) -> None:
    told.live[4], told.live[5] = told.live[5], told.live[4]


def swap_what_two_frames_show(told: Account) -> None:
    first, second = (json.loads(line)["objects"] for line in told.log[4:6])
    told.log[4:6] = [rewrite(told.log[4], objects=second), rewrite(told.log[5], objects=first)]


def drop_without_a_reason(told: Account) -> None:
    told.answers[4] = told.live[5] = told.log[5] = rewrite(told.log[5], status="dropped")


def tell_of_another_stream(told: Account) -> None:
    told.live[2] = rewrite(told.live[2], stream_id="4567")


def give_an_identity_again(told: Account) -> None:
    told.answers[4] = told.live[5] = told.log[5] = rewrite(told.log[5], epoch=1)


def test_an_account_without_a_fault_has_none() -> None:
    assert faults(good(), pushed=FRAMES) == {}


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose_a_frame, "lost"),
        (lose_a_frame_of_the_log, "lost"),
        (lose_an_answer, "lost"),
        (leave_a_frame_in_flight, "lost"),
        (double_a_frame, "duplicated"),
        (double_a_crossing, "duplicated"),
        (double_a_frame_under_another_id, "duplicated"),
        (swap_two_frames, "disordered"),
        (swap_what_two_frames_show, "changed"),
        (drop_without_a_reason, "unexplained"),
        (tell_of_another_stream, "foreign"),
        (give_an_identity_again, "reused"),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Account], None], kind: str) -> None:
    told = deepcopy(good())
    plant(told)
    assert faults(told, pushed=FRAMES)[kind] > 0


def test_a_crossing_too_many_or_too_few_is_an_error_of_one() -> None:
    none = account(*(result(seq) for seq in range(FRAMES)))
    assert crossing_error(good(), good()) == 0
    assert crossing_error(good(), none) == crossing_error(none, good()) == 1


def test_a_crossing_of_another_line_does_not_make_up_for_one() -> None:
    other = account(result(0), result(1), crossed(2, "across"), result(2), result(3), result(4))
    assert crossing_error(other, good()) == 1


def test_frames_that_show_something_else_differ() -> None:
    told = good()
    swap_what_two_frames_show(told)
    assert differing_frames(good(), good()) == 0
    assert differing_frames(told, good()) == 2
