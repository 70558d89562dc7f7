"""Words between a model and its owner: what was said is what is heard, and nothing else is."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import errors
from app.core.errors import InternalError, ModelError, MovedError, OverloadedError, SightlineError, UnavailableError
from engines.host_messages import MAX_BYTES, Failed, Job, Logged, Message, Ready, decode, encode
from tests.builders import make_spec

JOB = Job(
    model="/models/street/model.onnx",
    kind="auto",
    streams=None,
    threads_per_stream=1,
    max_batch=8,
    memory_bytes=None,
)
READY = Ready(spec=make_spec(), streams=2, row_shape=(84, 8400), runtime="openvino")


def altered(**values: object) -> bytes:
    """The ready message with other values."""
    return json.dumps(["Ready", asdict(READY) | values]).encode()


@pytest.mark.parametrize(
    "message", [READY, Failed(code="model", detail="no such file"), Logged(level=30, text="two\nlines")]
)
def test_a_message_is_heard_as_it_was_said(message: Message) -> None:
    assert decode(encode(message)) == message


def test_a_job_is_taken_up_as_it_was_given() -> None:
    assert Job.decode(JOB.encode()) == JOB


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"+",
        b"[" * 100_000,
        b'["Job", {}]',
        b'["Ready", null]',
        b'["Failed", {"code": "model"}]',
        b'["Logged", {"level": "INFO", "text": ""}]',
        altered(streams=0),
        altered(streams=True),
        altered(row_shape=[]),
        altered(row_shape=[84, -1]),
        altered(row_shape=[1 << 40]),
        altered(row_shape=[1] * 9),
        altered(runtime=None),
        altered(spec=asdict(make_spec()) | {"head": "unheard of"}),
        altered(spec=asdict(make_spec()) | {"scale": float("nan")}),
        altered(spec=asdict(make_spec()) | {"labels": [1]}),
        altered(spec=asdict(make_spec()) | {"input_width_px": 0.5}),
    ],
)
def test_what_cannot_have_been_meant_is_no_message(said: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        decode(said)


@given(st.binary(max_size=200))
def test_no_bytes_do_any_harm(said: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        decode(said)


def every_error() -> list[type[SightlineError]]:
    """Every class of error that there is."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SightlineError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_of_ours_arrives_as_itself(kind: type[SightlineError]) -> None:
    arrived = Failed.of(kind("words for the caller")).error
    assert type(arrived).code == kind.code
    assert arrived.status == kind.status


def test_an_error_keeps_its_words_and_its_place_in_the_tree() -> None:
    assert Failed(code=MovedError.code, detail="elsewhere").error.detail == "elsewhere"
    assert isinstance(Failed(code=MovedError.code, detail="").error, UnavailableError)
    assert type(Failed(code=ModelError.code, detail="").error) is ModelError
    assert type(Failed(code=OverloadedError.code, detail="").error) is OverloadedError


def test_an_unknown_error_is_one_of_ours_without_words() -> None:
    arrived = Failed(code="no such code", detail="secret").error
    assert type(arrived) is InternalError
    assert "secret" not in arrived.detail


def test_a_thousand_classes_fit_into_a_message() -> None:
    names = tuple(f"a class with a name of forty letters {number:04}" for number in range(1_000))
    assert len(encode(Ready(spec=make_spec(labels=names), streams=2, row_shape=(1,), runtime="x"))) < MAX_BYTES
