"""The accounts of the scenario `swaps` notice every planted fault."""

import json
from typing import Any

import pytest

from load_tests.swap_account import Account, Sent, Switch, account_of, flaps, sigmas, switch_s, theil_sen
from load_tests.swap_models import Mark, score_of, version_seen

MARKS = {mark.version: mark for mark in (Mark(n=0), Mark(n=1), Mark(n=8, is_displaced=True))}
EPOCHS = {1: {"1.0.0"}, 2: {"1.1.0"}}


def answer(version: str = "1.0.0", *, at_s: float = 1.0, status: int = 200, user: str = "", **wrong: Any) -> Sent:
    """A right answer to a picture of brightness 0.5 but for what is `wrong`: `seen`, `score`, `epoch`, `objects`."""
    box = MARKS[wrong.get("seen", version)].box
    one = {"box": [round(edge, 2) for edge in box], "score": wrong.get("score", round(score_of(0.5), 4))}
    result = {
        "model": {"name": "marks", "version": version},
        "route_epoch": wrong.get("epoch", 1 if version == "1.0.0" else 2),
        "objects": [one] * wrong.get("objects", 1),
    }
    body = json.dumps(result if status == 200 else {"code": "unavailable"}).encode()
    return Sent(brightness=0.5, due_s=at_s - 0.2, begun_s=at_s - 0.1, ended_s=at_s, status=status, body=body, user=user)


def account(*answers: Sent) -> Account:
    return account_of(answers, marks=MARKS, epochs=EPOCHS)


def test_right_answers_of_two_versions_are_told_and_nothing_is_torn() -> None:
    found = account(answer(), answer("1.1.0"))
    assert (found.torn, dict(found.failed)) == ([], {})
    assert found.versions() == {"1.0.0": 1, "1.1.0": 1}
    assert found.told[0].sent.latency_s == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seen": "1.1.0"},
        {"seen": "1.8.0"},
        {"score": score_of(0.9)},
        {"epoch": 2},
        {"epoch": 7},
        {"objects": 0},
        {"objects": 2},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_an_answer_that_no_registered_version_gives_is_torn(wrong: dict[str, Any]) -> None:
    assert len(account(answer(**wrong)).torn) == 1


def test_what_is_no_answer_has_failed_with_its_status_and_code() -> None:
    found = account(answer(status=503), Sent(brightness=0.5, due_s=0, begun_s=0, ended_s=1, status=0))
    assert dict(found.failed) == {"503 unavailable": 1, "0 without a problem of ours": 1}


def test_boxes_between_two_marks_are_of_no_version() -> None:
    left, right = MARKS["1.0.0"].box, MARKS["1.1.0"].box
    assert version_seen([left], MARKS) == "1.0.0"
    assert version_seen([[(a + b) / 2 for a, b in zip(left, right, strict=True)]], MARKS) is None
    assert version_seen([left, right], MARKS) is None


def test_a_switch_lasts_until_the_first_new_answer_and_the_last_old_one() -> None:
    told = account(answer(at_s=1.0), answer("1.1.0", at_s=1.3), answer(at_s=1.5), answer("1.1.0", at_s=2.0)).told
    assert switch_s(Switch(asked_s=1.1, epoch=2), told) == pytest.approx(0.4)
    assert switch_s(Switch(asked_s=1.1, epoch=2), [told[0], told[1]]) == pytest.approx(0.2)
    assert switch_s(Switch(asked_s=1.1, epoch=3), told) == float("inf")


def test_a_user_who_changes_sides_is_noticed() -> None:
    stays = [answer(user="a"), answer("1.1.0", user="b"), answer(user="a"), answer("1.1.0", user="b")]
    assert flaps(account(*stays).told) == 0
    assert flaps(account(*stays, answer("1.1.0", user="a")).told) == 1


def test_sigmas_of_a_share() -> None:
    assert sigmas(300, count=1000, share=0.3) == 0
    assert sigmas(300 + 29, count=1000, share=0.3) == pytest.approx(2.0, abs=0.01)


def test_the_median_slope_is_not_moved_by_an_odd_point() -> None:
    rising = [(float(x), 3.0 * x) for x in range(11)]
    assert theil_sen(rising) == pytest.approx(3.0)
    assert theil_sen([*rising[:5], (5.0, 1e6), *rising[6:]]) == pytest.approx(3.0)
    assert theil_sen([(0.0, 1.0)]) == 0.0
