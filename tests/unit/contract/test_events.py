"""Events as JSON: the bytes that clients have always got, and what becomes of the edges."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from pydantic import TypeAdapter

from app.api.contract import to_json_array, to_line, to_sse
from app.contract.events import schemas, to_json, wire
from app.core.result import Event, FrameResult, StreamState
from tests.unit.contract.events import CAPTURED_AT, EVENTS, make_error, make_object, make_result, results

GOLDEN = Path(__file__).parent / "golden.ndjson"
"""EVENTS. pydantic wrote the first four lines, as the service did until 3ebeb15."""


def kind(event: Event) -> str:
    return type(event).__name__


@pytest.mark.parametrize(("event", "line"), [*zip(EVENTS, GOLDEN.read_bytes().splitlines(), strict=True)])
def test_every_event_is_written_as_it_always_was(event: Event, line: bytes) -> None:
    assert to_json(event) == line


def test_every_kind_of_event_is_among_the_golden_ones() -> None:
    assert {kind(event) for event in EVENTS} == set(schemas())


@given(results)
def test_a_result_means_what_pydantic_would_write(result: FrameResult) -> None:
    meant = json.loads(TypeAdapter(FrameResult).dump_json(result, exclude_none=True))
    empty = [name for name in ("crossings", "zones") if not meant[name]]
    assert json.loads(to_json(result)) == {name: value for name, value in meant.items() if name not in empty}


def test_what_is_zero_or_an_empty_word_is_written() -> None:
    result = replace(make_error(), reason="", pts_s=0.0, objects=(make_object(track_id=0),))
    document = json.loads(to_json(result))
    assert (document["reason"], document["pts_s"], document["objects"][0]["track_id"]) == ("", 0.0, 0)
    assert (document["metadata"], document["degraded"], document["route_epoch"]) == ({}, False, 0)


def test_empty_crossings_and_zones_are_left_out() -> None:
    assert {"crossings", "zones", "model"}.isdisjoint(json.loads(to_json(make_error())))


def test_a_time_of_any_zone_is_written_in_utc() -> None:
    result = make_result(captured_at=CAPTURED_AT.astimezone(timezone(timedelta(hours=2))))
    assert json.loads(to_json(result))["captured_at"] == "2026-11-23T10:00:00.250000Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_json(make_result(captured_at=datetime(2026, 11, 23)))  # noqa: DTZ001 - that is the fault


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(make_result(pts_s=float("nan")))


@pytest.mark.parametrize(("event", "seq"), [*zip(EVENTS, [41, 0, 4, 8, 41, 41, 41, 41, 41, 41, 8], strict=True)])
def test_an_event_on_the_wire_names_its_frame_or_the_one_before_it(event: Event, seq: int) -> None:
    told = wire(event, after_seq=8)
    assert (told.seq, told.kind, told.event_id, told.body) == (seq, kind(event), event.event_id, to_json(event))


def test_before_the_first_frame_an_event_stands_at_minus_one() -> None:
    assert wire(StreamState(stream_id="s", epoch=0, event_id="s:0:-1:0", state="idle")).seq == -1


@pytest.mark.parametrize("event", EVENTS, ids=kind)
def test_http_writes_the_same_for_an_event_and_for_what_is_on_the_wire(event: Event) -> None:
    body = to_json(event)
    assert to_line(event) == to_line(wire(event)) == body + b"\n"
    name, event_id = kind(event).encode(), event.event_id.encode()
    assert to_sse(event) == to_sse(wire(event)) == b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id, name, body)


def test_several_results_are_one_array() -> None:
    one, other = make_result(), make_error()
    assert json.loads(to_json_array([one, other])) == [json.loads(to_json(one)), json.loads(to_json(other))]
    assert to_json_array([]) == b"[]"
