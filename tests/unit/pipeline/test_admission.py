"""The scenario's account of many decodes at once, at a size that a unit test can afford, and what it must catch."""

import asyncio
from dataclasses import replace

import pytest

from app.vision.example import example_jpeg
from load_tests.admission import Answer, admit, faults, percentile

COUNT = 10
NONE = {"lost": 0, "twice": 0, "swapped": 0, "decoded_twice": 0}
ANSWERS = [Answer(asked=seq, answered=seq, queue_s=0.1, decode_s=0.01) for seq in range(COUNT)]
ONCE = dict.fromkeys(range(COUNT), 1)


def test_two_thousand_admitted_at_once_are_answered_exactly_once_and_all_wait_at_the_same_time() -> None:
    answers, decoded, depth = asyncio.run(admit(example_jpeg(width_px=64, height_px=48), count=2_000, workers=2))
    assert faults(answers, decoded=decoded, count=2_000) == NONE
    assert depth >= 1_900
    assert all(answer.queue_s >= 0 < answer.decode_s for answer in answers)


def test_pictures_that_cannot_be_decoded_count_as_lost() -> None:
    answers, decoded, _ = asyncio.run(admit(b"not a picture", count=COUNT, workers=2))
    assert faults(answers, decoded=decoded, count=COUNT) == {**NONE, "lost": COUNT}


@pytest.mark.parametrize(
    ("answers", "decoded", "fault"),
    [
        (ANSWERS, ONCE, {}),
        (ANSWERS[1:], ONCE, {"lost": 1}),
        ([*ANSWERS, ANSWERS[0]], ONCE, {"twice": 1}),
        ([replace(ANSWERS[0], answered=3), *ANSWERS[1:]], ONCE, {"swapped": 1}),
        (ANSWERS, {**ONCE, 4: 2}, {"decoded_twice": 1}),
    ],
)
def test_every_planted_fault_is_found(answers: list[Answer], decoded: dict[int, int], fault: dict[str, int]) -> None:
    assert faults(answers, decoded=decoded, count=COUNT) == {**NONE, **fault}


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 1.0) == 3.0
    assert percentile([], 0.5) == 0.0
