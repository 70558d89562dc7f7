import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.media.limits import DEFAULT_LIMITS
from app.media.pull.messages import (
    Alive,
    Broken,
    Filled,
    Job,
    Message,
    NotOpened,
    Opened,
    Reason,
    Shed,
    decode,
    encode,
)
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import source_of

FRAME = Filled(
    slot=1,
    width_px=320,
    height_px=180,
    source_width_px=640,
    source_height_px=360,
    pts_s=None,
    ntp_s=1.5e9,
    arrived_s=7.25,
    arrived_at=1.5e9,
    decode_s=0.001,
)
MESSAGES: list[Message] = [
    Alive(busy_s=0.5),
    Opened(announced_s=2.5),
    Opened(announced_s=None),
    NotOpened(reason=Reason.REFUSED),
    Broken(reason=Reason.CLOSED),
    Shed(count=3, reason=Reason.SUPERSEDED),
    FRAME,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


def altered(**values: object) -> bytes:
    name, fields = json.loads(encode(FRAME))
    return json.dumps([name, fields | values]).encode()


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xff\xfe",
        b"7",
        b'["Job", {}]',
        b'["Alive"]',
        b"[" * 5000,
        altered(slot="1"),
        altered(slot=True),
        altered(width_px=-1),
        altered(arrived_at=float("nan")),
        altered(pts_s=float("inf")),
        altered(ntp_s="now"),
        altered(pts_s=10**400),
        json.dumps(["Shed", {"count": 10**9, "reason": "superseded"}]).encode(),
        altered(extra=1),
        json.dumps(["Broken", {"reason": "because"}]).encode(),
        json.dumps([["Alive"], {}]).encode(),
    ],
)
def test_what_is_no_message_is_refused(datagram: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(datagram)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_mad_process_sends_there_is_no_other_error(datagram: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(datagram)


def test_a_job_arrives_with_its_password_and_its_lists() -> None:
    parameters = PullParameters(allowed_hosts=("cam1",), allowed_folders=("/videos",))
    source = source_of("rtsp://admin:secret@cam1/street", parameters)
    job = Job(
        source=source,
        parameters=parameters,
        limits=DEFAULT_LIMITS,
        fit_width_px=320.5,
        fit_height_px=320.0,
        slot_bytes=1000,
        fps=5.0,
    )
    assert Job.decode(job.encode()) == job
