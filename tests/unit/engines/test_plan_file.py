"""Words before a plan are stripped where there are some, and only there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ModelError
from engines.plan_file import check_target, shown, split_plan, with_words
from engines.plan_key import PlanTarget

TARGET = PlanTarget(tensorrt="11.4.0.106", compute_capability=(9, 0), device="GPU", driver_cuda=13000)


@given(words=st.dictionaries(st.text(), st.integers() | st.text()), plan=st.binary(min_size=1))
def test_words_and_plan_come_back(words: dict[str, object], plan: bytes) -> None:
    assert split_plan(with_words(words, plan)) == (words, plan)


@given(plan=st.binary(min_size=1).filter(lambda plan: b"{" not in plan))
def test_a_plan_without_words_is_left_as_it_is(plan: bytes) -> None:
    assert split_plan(plan) == ({}, plan)


@pytest.mark.parametrize(
    "prefix",
    [
        (10).to_bytes(4, "little") + b"no JSON at",
        (2).to_bytes(4, "little") + b"[]",
        (2**31).to_bytes(4, "little") + b"{}",
        (0).to_bytes(4, "little"),
        (20_000).to_bytes(4, "little") + b"[" * 20_000,
    ],
    ids=["not JSON", "no object", "longer than the file", "no length", "nested too deep"],
)
def test_what_only_looks_like_words_is_part_of_the_plan(prefix: bytes) -> None:
    assert split_plan(prefix + b"plan") == ({}, prefix + b"plan")


@pytest.mark.parametrize("data", [b"", with_words({"key": "0"}, b"")], ids=["nothing", "only words"])
def test_no_plan_at_all_is_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        split_plan(data)


def test_a_plan_of_this_machine_and_one_that_says_nothing_pass() -> None:
    words = {"tensorrt": "11.4.0.106", "compute_capability": [9, 0], "device": "GPU"}
    check_target(json.loads(json.dumps(words)), TARGET)
    check_target({}, TARGET)


@pytest.mark.parametrize("words", [{"tensorrt": "10.0"}, {"compute_capability": [8, 6]}, {"device": "other"}])
def test_a_plan_of_another_machine_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="was built for"):
        check_target(words, TARGET)


@given(value=st.text() | st.lists(st.text()) | st.integers())
def test_what_a_foreign_file_says_is_one_short_line_that_moves_no_terminal(value: object) -> None:
    line = shown(value)
    assert line.isprintable()
    assert len(line) <= 81 * 10  # ten letters for one that has no picture


def test_plain_words_are_shown_as_they_are_and_long_ones_cut() -> None:
    assert shown("NVIDIA H200") == "NVIDIA H200"
    assert shown([9, 0]) == "[9, 0]"
    assert shown("\x1b[2J") == "\\x1b[2J"
    assert shown("x" * 100_000) == "x" * 80 + "…"
