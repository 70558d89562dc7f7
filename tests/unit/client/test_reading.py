"""What the contract writes is read back as it was, and everything else is refused with a typed error."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.client.errors import AnswerError
from app.client.reading import Ack, Credit, GoAway, read, told
from app.contract.events import to_json
from app.core.result import Event, FrameResult
from tests.unit.contract.events import EVENTS, make_result, results


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event_id)
def test_every_kind_of_event_comes_back_as_it_was(event: Event) -> None:
    assert told(to_json(event)) == event


@settings(max_examples=100, deadline=None)
@given(results)
def test_any_result_comes_back_as_it_was(result: FrameResult) -> None:
    assert told(to_json(result)) == result


def test_the_words_of_a_connection_are_read() -> None:
    assert told('{"schema":"sightline.v1.Credit","frames":3}') == Credit(frames=3)
    assert told('{"schema":"sightline.v1.Ack","seq":9}') == Ack(seq=9)
    away = GoAway(resume_token="a token", reason="draining", reconnect_after_s=1.0)  # noqa: S106  of nothing
    assert told(json.dumps(asdict(away))) == away


def test_keys_and_kinds_of_a_later_version_are_passed_over() -> None:
    result = make_result()
    later = {**json.loads(to_json(result)), "mood": "sunny"}
    assert told(json.dumps(later)) == result
    assert told('{"schema":"sightline.v1.Alert"}') is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "7", "[]", '"x"', "{}", "\x00\xff", "[" * 100_000, '{"schema":7}', '{"schema":["a"]}'],
    ids=lambda text: text[:9],
)
def test_what_is_no_event_is_an_answer_error(text: str) -> None:
    with pytest.raises(AnswerError):
        assert told(text) is not None


WRONG: list[dict[str, Any]] = [
    {"seq": "41"},
    {"seq": 1.5},
    {"seq": True},
    {"event_id": None},
    {"status": "perhaps"},
    {"captured_at": "yesterday"},
    {"captured_at": 7},
    {"objects": "many"},
    {"objects": [7]},
    {"objects": [{"label": "car"}]},
    {"objects": [{"label": "car", "class_id": 2, "score": 0.5, "box": [1, 2, 3]}]},
    {"timings": 3},
    {"pts_s": int("9" * 400)},
    {"metadata": {"gate": 3}},
    {"zones": {"yard": None}},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong)[:40])
def test_a_field_of_another_type_is_an_answer_error(wrong: dict[str, Any]) -> None:
    document = {**json.loads(to_json(make_result())), **wrong}
    with pytest.raises(AnswerError, match="not a FrameResult"):
        read(FrameResult, document)


@pytest.mark.parametrize("name", ["stream_id", "epoch", "seq", "event_id", "status"])
def test_a_missing_field_is_named(name: str) -> None:
    document = json.loads(to_json(make_result()))
    del document[name]
    with pytest.raises(AnswerError, match=name):
        read(FrameResult, document)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_whatever_raises_anything_else(document: Any) -> None:
    with pytest.raises(AnswerError):
        read(FrameResult, document)
