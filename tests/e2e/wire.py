"""HTTP/1.1 on a bare socket: every byte is sent when the test says so, and the clock starts with the last one."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pytest

from load_tests.service import Service

IMAGES, VIDEOS = "/v1/detections", "/v1/videos"
JPEG, MP4 = "image/jpeg", "video/mp4"
WITHIN_S = 1.0
"""Each bad body has its answer this long after its last byte. Source: issue 2."""
INTERNALS = re.compile(
    r"traceback|\.py\b|\bray\b|actor|replica|/(work|tmp|usr|root|proc)/|0x[0-9a-f]{6}", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `after_s` is from the last byte sent to the last byte read."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    after_s: float

    def header(self, name: str) -> str:
        """The one header of that name."""
        (value,) = [value for key, value in self.headers if key.lower() == name]
        return value

    @property
    def json(self) -> Any:
        """The body as one JSON document."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The body as NDJSON."""
        return [json.loads(line) for line in self.body.splitlines()]


class Connection:
    """One connection; leaving the block closes it, with whatever is under way on it."""

    def __init__(self, service: Service, *, timeout_s: float = 30.0) -> None:
        self._socket = socket.create_connection((service.host, service.port), timeout=timeout_s)
        self._sent_s = 0.0
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for part in filter(None, (self._response, self._socket)):
            part.close()

    def send(self, data: bytes) -> Self:
        """Send it all and start the clock."""
        self._socket.sendall(data)
        self._sent_s = time.perf_counter()
        return self

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines of an answer while it comes."""
        self._response = http.client.HTTPResponse(self._socket, method="POST")
        self._response.begin()
        assert self._response.status == 200
        return map(json.loads, iter(self._response.readline, b""))

    def answer(self) -> Answer:
        """The whole answer to what was sent; the connection can be used again."""
        with http.client.HTTPResponse(self._socket, method="POST") as response:
            response.begin()
            body = response.read()
            after_s = time.perf_counter() - self._sent_s
            return Answer(status=response.status, headers=response.getheaders(), body=body, after_s=after_s)


def request(path: str, body: bytes = b"", *, kind: str = JPEG, n_bytes: int | None = None, headers: str = "") -> bytes:
    """A POST; `n_bytes` is the length it claims, `headers` are more of them, each ended by CR LF."""
    length = len(body) if n_bytes is None else n_bytes
    head = f"POST {path} HTTP/1.1\r\nhost: sightline\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{headers}"
    return head.encode("latin-1") + b"\r\n" + body


def chunked(path: str, pieces: list[bytes], *, kind: str) -> bytes:
    """The same without a length: each piece is a chunk."""
    head = f"POST {path} HTTP/1.1\r\nhost: sightline\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def ask(service: Service, path: str, body: bytes, *, kind: str = JPEG, headers: str = "") -> Answer:
    """One request on a connection of its own."""
    with Connection(service) as connection:
        return connection.send(request(path, body, kind=kind, headers=headers)).answer()


def assert_problem(answer: Answer, status: int, code: str) -> None:
    """A problem of that kind, in time, with words for the caller and nothing of the inside."""
    assert answer.status == status, answer.body
    assert answer.header("content-type") == "application/problem+json"
    problem = answer.json
    assert sorted(problem) == ["code", "detail", "request_id", "status", "title", "type"]
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["request_id"] == answer.header("x-request-id")
    assert not INTERNALS.search(answer.body.decode())
    assert answer.after_s < WITHIN_S


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same objects in the same order; a batch in other company may move a box by less than a pixel."""
    assert [item["label"] for item in found] == [item["label"] for item in expected]
    assert [edge for item in found for edge in item["box"]] == pytest.approx(
        [edge for item in expected for edge in item["box"]], abs=1.0
    )
