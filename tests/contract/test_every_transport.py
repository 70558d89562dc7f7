"""One scene, seven ways to read it and three to send it: the same events each time, and a comparison that would see."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias, get_args

import pytest

from app.core.result import Event, Status
from tests.contract.delivery_places import PLACES
from tests.contract.scene import SPEC, SceneFrame, frames, told_frames
from tests.contract.transports import READERS, SENDERS, Read, Service, read_by_all, serving_all

Reading: TypeAlias = tuple[Read, dict[str, Read], dict[str, str]]
"""The owner's log, what each reader has of it, and why readers are left out."""
Form: TypeAlias = Callable[[bytes], bytes]


def unchanged(body: bytes) -> bytes:
    return body


def canonical(body: bytes) -> bytes:
    """The same document with its fields in the order of their names; 1 and 1.0 stay apart."""
    return json.dumps(json.loads(body), sort_keys=True).encode()


def nameless(stream_id: str, log: Read) -> Read:
    """The log without the stream's name and without how long the work took: the clock's part of it."""
    events = [json.loads(body.replace(stream_id.encode(), b"this")) for _, body in log]
    without = [{name: value for name, value in event.items() if name != "timings"} for event in events]
    return [(event["event_id"], canonical(json.dumps(event).encode())) for event in without]


FORMS: Mapping[str, Form] = dict.fromkeys((*READERS, *PLACES), unchanged) | {"grpc": canonical}
"""What is compared: the very bytes; where JSON travels as a message, the document."""


def differences(log: Read, read: Read, *, may_repeat: bool) -> list[str]:
    """What `read` has otherwise than the log; with `may_repeat` the same event may have come again under its id."""
    bodies = dict(log)
    came = Counter(event_id for event_id, _ in read)
    wrong = [f"lost {event_id}" for event_id in bodies if event_id not in came]
    wrong += [f"unknown {event_id}" for event_id in came if event_id not in bodies]
    wrong += [f"doubled {event_id}" for event_id, times in came.items() if times > 1 and not may_repeat]
    wrong += [f"changed {event_id}" for event_id, body in read if bodies.get(event_id, body) != body]
    first = [event_id for event_id in came if event_id in bodies]
    due = [event_id for event_id in bodies if event_id in came]
    return wrong + [f"out of order {event_id}" for event_id, other in zip(first, due, strict=True) if event_id != other]


def in_form(form: Form, events: Read) -> Read:
    return [(event_id, form(body)) for event_id, body in events]


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """One stream that all of them have read at once."""

    async def run() -> Reading:
        async with serving_all(tmp_path_factory.mktemp("all")) as service:
            send = partial(SENDERS["websocket"], service, frames=told_frames())
            return *await read_by_all(service, SPEC, send), dict(service.missing)

    return asyncio.run(run())


@pytest.fixture(params=(*READERS, *PLACES))
def reader(request: pytest.FixtureRequest, reading: Reading) -> str:
    """The name of each that has read."""
    name = str(request.param)
    if name in reading[2]:
        pytest.skip(reading[2][name])
    return name


def test_every_reader_of_a_stream_gets_the_owner_s_events_in_their_order(reading: Reading, reader: str) -> None:
    log, form = in_form(FORMS[reader], reading[0]), FORMS[reader]
    assert differences(log, in_form(form, reading[1][reader]), may_repeat=reader in PLACES) == []


def test_the_scene_holds_every_kind_of_event_and_every_end_of_a_frame(reading: Reading) -> None:
    events = [json.loads(body) for _, body in reading[0]]
    assert [event["event_id"] for event in events] == [event_id for event_id, _ in reading[0]]
    kinds = Counter(event["schema"].rsplit(".", 1)[-1] for event in events)
    assert kinds.keys() == {kind.__name__ for kind in get_args(Event)}
    ends = [(event["status"], event.get("reason")) for event in events if "status" in event]
    assert {status for status, _ in ends} == set(Status)
    assert {"sampled", "source_lost"} < {reason for _, reason in ends}
    assert events[-1]["captured"] == len(told_frames()) == kinds["FrameResult"]


def logs(folder: Path, senders: Sequence[str], scene: Sequence[SceneFrame]) -> list[Read]:
    """What is told of the same scene sent over each of these, each into a stream of its own, at the same time."""

    async def one(service: Service, sender: str) -> Read:
        stream_id = await service.open(SPEC)
        await SENDERS[sender](service, stream_id, scene)
        await service.close(stream_id)
        return nameless(stream_id, await service.log(stream_id))

    async def run() -> list[Read]:
        async with serving_all(folder) as service, asyncio.timeout(20):
            return await asyncio.gather(*(one(service, sender) for sender in senders))

    return asyncio.run(run())


def test_one_scene_sent_over_http_websocket_and_grpc_is_told_the_same(tmp_path: Path) -> None:
    pushed, over_websocket, over_grpc = logs(tmp_path, list(SENDERS), frames())
    assert len(pushed) > len(frames())
    assert differences(pushed, over_websocket, may_repeat=False) == []
    assert differences(pushed, over_grpc, may_repeat=False) == []


def test_what_a_client_says_of_its_frames_is_told_the_same_over_websocket_and_grpc(tmp_path: Path) -> None:
    """That it dropped one, and metadata: over HTTP there are no words for either."""
    over_websocket, over_grpc = logs(tmp_path, ["websocket", "grpc"], told_frames())
    assert differences(over_websocket, over_grpc, may_repeat=False) == []


FAULTS: dict[str, Callable[[Read, int], Read]] = {
    "lost": lambda events, at: [*events[:at], *events[at + 1 :]],
    "doubled": lambda events, at: [*events[: at + 1], *events[at:]],
    "changed": lambda events, at: [*events[:at], altered(events[at]), *events[at + 1 :]],
    "unknown": lambda events, at: [*events[:at], ("another", events[at][1]), *events[at:]],
    "out of order": lambda events, at: [*events[:at], events[at + 1], events[at], *events[at + 2 :]],
}


def altered(event: tuple[str, bytes]) -> tuple[str, bytes]:
    """The same event with one digit changed: that of its epoch."""
    return event[0], event[1].replace(b'"epoch":0', b'"epoch":1').replace(b'"epoch": 0', b'"epoch": 1')


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", [unchanged, canonical])
def test_the_comparison_sees_one_planted_fault_at_any_event(reading: Reading, fault: str, form: Form) -> None:
    log = in_form(form, reading[0])
    for at in range(len(log) - 1):
        wrong = differences(log, FAULTS[fault](log, at), may_repeat=False)
        assert {words.rsplit(" ", 1)[0] for words in wrong} == {fault}


def test_the_comparison_lets_pass_a_repetition_of_a_broker_and_not_another_body_under_the_same_id(
    reading: Reading,
) -> None:
    log = reading[0]
    again = [*log[:20], *log[10:]]
    assert differences(log, again, may_repeat=True) == []
    assert differences(log, [*log[:20], altered(log[10]), *log[11:]], may_repeat=True) == [f"changed {log[10][0]}"]


def test_the_comparison_of_senders_sees_another_moment_and_not_another_time_of_work() -> None:
    def told(captured_at: str, total_s: float, name: str) -> Read:
        event = {"event_id": f"{name}:0:7", "captured_at": captured_at, "timings": {"total_s": total_s}}
        return nameless(name, [(f"{name}:0:7", json.dumps(event).encode())])

    moment, next_moment = "2026-11-23T10:00:00.000001Z", "2026-11-23T10:00:00.000002Z"
    assert differences(told(moment, 1.0, "f00"), told(moment, 2.0, "ba5"), may_repeat=False) == []
    assert differences(told(moment, 1.0, "f00"), told(next_moment, 1.0, "ba5"), may_repeat=False) == [
        "changed this:0:7"
    ]
