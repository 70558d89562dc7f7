"""Events as protobuf messages: what is kept, and what is refused."""

import json
from typing import Any

import pytest

from app.contract import vision_pb2
from app.contract.events import kind_of, schemas, to_json, wire
from app.contract.messages import from_message, to_event, to_frame_result, to_message
from app.core.result import Event, Gap
from tests.unit.contract.events import EVENTS, make_error, make_object, make_result

RESULT = {"schema": "sightline.v1.FrameResult"}


@pytest.mark.parametrize("event", EVENTS, ids=kind_of)
def test_an_event_of_any_kind_goes_inside_event(event: Event) -> None:
    told = wire(event)
    inside = to_event(told.body, told.kind)
    assert inside.WhichOneof("kind")
    assert from_message(inside) == told.body


def test_every_kind_with_a_schema_has_a_message() -> None:
    kinds = {kind.message_type.name for kind in vision_pb2.Event.DESCRIPTOR.fields}
    assert kinds == set(schemas())


def test_whole_numbers_stay_numbers_up_to_the_last() -> None:
    message = to_frame_result(to_json(make_result(seq=2**64 - 1)))
    assert json.loads(from_message(message))["seq"] == 2**64 - 1


def test_zero_is_not_the_same_as_nothing() -> None:
    message = to_frame_result(to_json(make_result(pts_s=0.0, objects=(make_object(track_id=0), make_object()))))
    assert message.HasField("pts_s")
    assert message.objects[0].HasField("track_id")
    assert not to_frame_result(to_json(make_error())).HasField("pts_s")


def test_what_only_transports_carry_is_not_in_the_json() -> None:
    event = make_result()
    message = to_frame_result(to_json(event))
    message.credit.frames = 8
    message.ack.seq = 41
    message.go_away.resume_token = "again"  # noqa: S105 - a made-up one
    message.events.add().gap.after_seq = 3
    assert from_message(message) == to_json(event)


def test_a_message_that_carries_only_control_is_no_event() -> None:
    with pytest.raises(ValueError, match="status 0"):
        from_message(vision_pb2.FrameResult(stream_id="cam", credit=vision_pb2.Credit(frames=8)))


def test_a_status_from_a_later_version_is_refused() -> None:
    message = to_frame_result(to_json(make_result()))
    message.status = 77
    with pytest.raises(ValueError, match="status 77"):
        from_message(message)


def test_an_event_without_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        from_message(vision_pb2.Event())


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        [],
        {},
        {"schema": "sightline.v1.Gap"},
        RESULT | {"unknown": 1},
        RESULT | {"status": "STATUS_RESULT"},
        RESULT | {"status": 1},
        RESULT | {"seq": -1},
        RESULT | {"seq": 2**64},
        RESULT | {"seq": "1"},
        RESULT | {"captured_at": 3},
        RESULT | {"captured_at": "yesterday"},
        RESULT | {"objects": 3},
        RESULT | {"objects": [3]},
        RESULT | {"zones": {"yard": 3}},
        RESULT | {"crossings": [{"direction": "sideways"}]},
    ],
    ids=str,
)
def test_what_is_no_result_is_refused(body: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_frame_result(json.dumps(body).encode())


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        to_frame_result(b"not json")


def test_there_is_no_other_kind() -> None:
    gap = next(event for event in EVENTS if isinstance(event, Gap))
    with pytest.raises(ValueError, match="no event Rule"):
        to_message(to_json(gap), "Rule")
