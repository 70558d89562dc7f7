"""Each refusal of the service is the same error on this side of the wire."""

import json
from http import HTTPStatus

import pytest

from app.client.errors import AnswerError, named, refusal
from app.core.errors import (
    ConflictError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
    OverloadedError,
    QuotaError,
    SightlineError,
    UnavailableError,
)


@pytest.mark.parametrize(
    "error", [NotFoundError("x"), ConflictError("y"), InvalidParameterError("z"), InternalError("i")]
)
def test_a_problem_is_the_error_that_it_came_from(error: SightlineError) -> None:
    body = json.dumps({"code": error.code, "detail": error.detail, "status": int(error.status)}).encode()
    back = refusal(error.status, body)
    assert (type(back), back.detail) == (type(error), error.detail)


def test_a_503_says_how_long_to_wait() -> None:
    body = json.dumps({"code": "overloaded", "detail": "full"}).encode()
    back = refusal(503, body, retry_after="7")
    assert isinstance(back, OverloadedError)
    assert back.retry_after_s == 7.0


@pytest.mark.parametrize("later", ["", "soon", "nan", "inf", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", None])
def test_a_time_to_wait_that_is_none_leaves_the_error_s_own(later: str | None) -> None:
    back = refusal(503, b"", retry_after=later)
    assert isinstance(back, UnavailableError)
    assert back.retry_after_s == 1.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, UnavailableError), (429, QuotaError), (500, InternalError), (502, UnavailableError), (418, AnswerError)],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"code": ["x"]}', b"\xff"])
def test_an_answer_of_somebody_else_is_told_by_its_status(status: int, body: bytes, kind: type[SightlineError]) -> None:
    back = refusal(status, body)
    assert type(back) is kind
    assert str(status) in back.detail


def test_every_status_of_an_error_has_one_error() -> None:
    assert {type(refusal(status, b"")).status for status in (400, 406, 409, 413, 415, 422)} == {
        HTTPStatus(status) for status in (400, 406, 409, 413, 415, 422)
    }


def test_a_404_is_not_found_only_where_we_say_so() -> None:
    assert isinstance(refusal(404, b'{"code": "not_found", "detail": "gone"}'), NotFoundError)
    assert isinstance(refusal(404, b"Not Found"), UnavailableError)


def test_a_name_that_is_none_is_nothing() -> None:
    assert named("weather", "rain") is None
    assert isinstance(named("not_found", "gone"), NotFoundError)
