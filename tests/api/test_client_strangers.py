"""The Python client against servers that are silent, full, mad, or something else altogether: bounded, and typed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from app.client import AnswerError, AsyncSightline, SessionLimits, Sightline, UnreachableError
from app.client.connection import Door
from app.client.outbox import Outbox
from app.client.session import LiveSession
from app.core.errors import (
    ForbiddenError,
    InternalError,
    InvalidParameterError,
    NotFoundError,
    OverloadedError,
    SightlineError,
    TooLargeError,
    UnavailableError,
)
from app.policy.reconnect import Backoff

WITHIN_S = 30.0
QUICK = SessionLimits(backoff=Backoff.FAST, give_up_s=1.0)
CREDIT = '{"schema":"sightline.v1.Credit","frames":9}'
RESULT = (
    '{{"schema":"sightline.v1.FrameResult","stream_id":"s","epoch":0,"seq":{0},"event_id":"s:0:{0}","status":"result"}}'
)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await scenario()

    asyncio.run(bounded())


@dataclass(slots=True)
class Canned:
    """A server that answers every request with the same bytes; with none it says nothing and waits."""

    answer: bytes
    port: int = 0
    requests: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def canned(answer: bytes) -> AsyncIterator[Canned]:
    known = Canned(answer)
    server = await asyncio.start_server(known._answer, "127.0.0.1", 0)
    known.port = server.sockets[0].getsockname()[1]
    try:
        yield known
    finally:
        server.close()
        for writer in known.writers:
            writer.transport.abort()
        await server.wait_closed()


def http(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def failure_of(answer: bytes, *, timeout_s: float = 5.0) -> tuple[SightlineError, int]:
    """What `streams()` raises, and after how many requests."""
    async with canned(answer) as server, AsyncSightline(server.url, timeout_s=timeout_s) as client:
        with pytest.raises(SightlineError) as caught:
            await client.streams()
        return caught.value, server.requests


def test_a_503_is_tried_again_a_few_times_as_late_as_it_says() -> None:
    async def scenario() -> None:
        begun_s = time.monotonic()
        busy = http("503 Service Unavailable", b'{"code":"overloaded","detail":"full"}', "retry-after: 1")
        error, requests = await failure_of(busy)
        assert isinstance(error, OverloadedError)
        assert (error.retry_after_s, requests) == (1.0, 4)
        assert 3 <= time.monotonic() - begun_s < 15

    run(scenario)


def test_a_404_without_a_code_of_ours_is_a_proxy_that_knows_no_route_yet_and_is_tried_again() -> None:
    async def scenario() -> None:
        error, requests = await failure_of(http("404 Not Found", b"<html>nothing here</html>"), timeout_s=15.0)
        assert isinstance(error, UnavailableError)
        assert requests > 1

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("404 Not Found", b'{"code":"not_found","detail":"no such stream"}'), NotFoundError),
        (http("500 Internal Server Error", b""), InternalError),
        (http("200 OK", b"<html>welcome</html>"), AnswerError),
        (http("200 OK", b"[{}]"), AnswerError),
        (http("200 OK", b"[7]"), AnswerError),
        (http("200 OK", b'"hello"'), AnswerError),
        (http("200 OK", b"[" * 100_000), AnswerError),
        (http("301 Moved Permanently", b"", "location: /elsewhere"), AnswerError),
        (http("418 I'm a teapot", b""), AnswerError),
    ],
    ids=lambda value: value[:12].decode() if isinstance(value, bytes) else value.__name__,
)
def test_an_answer_that_is_none_of_ours_is_typed_and_asked_for_once(answer: bytes, kind: type[SightlineError]) -> None:
    async def scenario() -> None:
        error, requests = await failure_of(answer)
        assert type(error) is kind
        assert requests == 1

    run(scenario)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\xff\x00\xff\r\n\r\n"])
def test_a_server_that_says_nothing_or_speaks_another_protocol_is_unreachable(answer: bytes) -> None:
    async def scenario() -> None:
        error, _ = await failure_of(answer, timeout_s=0.3)
        assert isinstance(error, UnreachableError)

    run(scenario)


def test_opening_a_stream_is_not_asked_for_twice_when_nobody_knows_whether_it_was_done() -> None:
    async def scenario() -> None:
        async with canned(b"") as server, AsyncSightline(server.url, timeout_s=0.3) as client:
            with pytest.raises(UnreachableError):
                await client.open()
            assert server.requests == 1

    run(scenario)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://camera", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidParameterError):
        Sightline(url)


Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def session_with(
    handler: Handler, *, limits: SessionLimits = QUICK, before: Callable[[ServerConnection, Request], Any] | None = None
) -> AsyncIterator[LiveSession]:
    """A session that sends, with a server that does what `handler` says, whatever is asked of it."""
    async with serve(handler, "127.0.0.1", 0, process_request=before) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        outbox = Outbox(keeps_latest=False, first_seq=0, max_frames=9, max_bytes=9999)
        door = Door(url=f"http://127.0.0.1:{port}", stream_id="s", headers={"x-tenant": "farm"})
        session = LiveSession(door, outbox=outbox, since=-1, limits=limits, is_reader=False)
        try:
            yield session
        finally:
            await session.close()


def closing(code: int, reason: str = "", *, after: tuple[str, ...] = ()) -> tuple[Handler, list[str]]:
    """Says these things and closes; and the addresses that were asked for."""
    asked: list[str] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        asked.append(socket.request.path)
        for text in after:
            await socket.send(text)
        await socket.close(code, reason)

    return handler, asked


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1003, "a message is a VideoFrame in binary", InvalidParameterError),
        (1007, "invalid_request: the message is no VideoFrame", SightlineError),
        (1008, "not_found: there is no such stream", NotFoundError),
        (1008, "", InvalidParameterError),
        (1009, "too_large: 8 MiB", TooLargeError),
    ],
)
def test_a_close_that_nothing_can_help_is_an_error_at_once(code: int, reason: str, kind: type[SightlineError]) -> None:
    async def scenario() -> None:
        handler, asked = closing(code, reason, after=(CREDIT,))
        async with session_with(handler) as session:
            with pytest.raises(kind):
                await session.unread.read()
            assert len(asked) == 1

    run(scenario)


@pytest.mark.parametrize(("code", "reason"), [(1011, ""), (1012, ""), (1013, "overloaded: full"), (4321, "?")])
@pytest.mark.parametrize("after", [(), (CREDIT,)])
def test_a_close_that_may_pass_is_tried_again_until_the_time_is_up(
    code: int, reason: str, after: tuple[str, ...]
) -> None:
    async def scenario() -> None:
        handler, asked = closing(code, reason, after=after)
        begun_s = time.monotonic()
        async with session_with(handler) as session:
            with pytest.raises(UnreachableError):
                await session.unread.read()
        assert 0.5 < time.monotonic() - begun_s < 5
        assert 2 <= len(asked) <= 6

    run(scenario)


@pytest.mark.parametrize("text", ["garbage", "{}", "[1,2", '{"schema":"sightline.v1.Ack","seq":"x"}'])
def test_garbage_is_a_cut_and_named_when_it_does_not_end(text: str) -> None:
    async def scenario() -> None:
        handler, asked = closing(1000, after=(CREDIT, text))
        async with session_with(handler) as session:
            with pytest.raises(UnreachableError) as caught:
                await session.unread.read()
        assert isinstance(caught.value.__cause__, AnswerError)
        assert len(asked) > 1

    run(scenario)


def test_one_bad_message_costs_a_connection_and_no_event() -> None:
    tries: list[str] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        tries.append(socket.request.path)
        await socket.send(CREDIT)
        await socket.send(RESULT.format(len(tries) - 1))
        await socket.send("garbage" if len(tries) == 1 else RESULT.format(7))
        await socket.close()

    async def scenario() -> None:
        async with session_with(handler) as session:
            seqs = []
            while events := await session.unread.read():
                seqs += [event.seq for event in events if hasattr(event, "seq")]
            assert seqs == [0, 1, 7]
        assert tries == ["/v1/streams/s/ws?since=-1", "/v1/streams/s/ws?since=0"]

    run(scenario)


@pytest.mark.parametrize("says", [(), (CREDIT,)])
def test_a_server_that_accepts_and_says_nothing_is_given_up(
    says: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.session.OPEN_S", 0.2)
    connections: list[ServerConnection] = []

    async def handler(socket: ServerConnection) -> None:
        connections.append(socket)
        for text in says:
            await socket.send(text)
        await socket.wait_closed()

    async def scenario() -> None:
        async with session_with(handler) as session:
            done, _ = await asyncio.wait({asyncio.create_task(session.unread.read())}, timeout=2.5)
            assert [type(task.exception()) for task in done] == [UnreachableError][: 1 - len(says)]
        assert (len(connections) > 1) is not bool(says)

    run(scenario)


@pytest.mark.parametrize(
    ("status", "kind", "is_final"),
    [
        (403, ForbiddenError, True),
        (418, AnswerError, True),
        (404, UnreachableError, False),
        (429, UnreachableError, False),
        (503, UnreachableError, False),
    ],
)
def test_a_handshake_that_is_refused_means_what_its_status_says(
    status: int,
    kind: type[SightlineError],
    is_final: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    tenants: list[str | None] = []

    def before(socket: ServerConnection, request: Request) -> Response:
        tenants.append(request.headers.get("x-tenant"))
        return socket.respond(status, "no")

    async def scenario() -> None:
        handler, _ = closing(1000)
        async with session_with(handler, before=before) as session:
            with pytest.raises(kind):
                await session.unread.read()

    run(scenario)
    assert (len(tenants) == 1) is is_final
    assert set(tenants) == {"farm"}


def test_a_token_that_is_refused_is_left_out_and_since_says_the_same() -> None:
    asked: list[str] = []
    away = '{"schema":"sightline.v1.GoAway","resume_token":"old","reason":"draining","reconnect_after_s":0.05}'

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        asked.append(socket.request.path)
        match asked[-1].rpartition("=")[2]:
            case "-1":
                for text in (CREDIT, RESULT.format(0), away):
                    await socket.send(text)
                await socket.close(1012)
            case "old":
                await socket.close(1008, "invalid_parameter: resume: not a token of this stream")
            case _:
                await socket.send(CREDIT)
                await socket.close(1000)

    async def scenario() -> None:
        async with session_with(handler) as session:
            assert len(await session.unread.read()) == 1
            assert await session.unread.read() == []

    run(scenario)
    base = "/v1/streams/s/ws?since="
    assert asked == [f"{base}-1", f"{base}0&resume=old", f"{base}0"]


def test_after_a_go_away_nothing_more_is_sent_over_the_old_connection() -> None:
    got: list[int] = []

    async def handler(socket: ServerConnection) -> None:
        got.append(0)
        away = '{"schema":"sightline.v1.GoAway","resume_token":"t","reason":"draining","reconnect_after_s":0.1}'
        for text in (away, CREDIT)[: 2 if len(got) == 1 else 0] or (CREDIT,):
            await socket.send(text)
        try:
            async with asyncio.timeout(0.5):
                await socket.recv()
                got[-1] += 1
        except TimeoutError:
            await socket.close(1012)
        else:
            await socket.send(RESULT.format(0))
            await socket.close(1000)

    async def scenario() -> None:
        async with session_with(handler) as session:
            await session.put(b"x", captured_at=0.0, metadata={})
            await session.drain()

    run(scenario)
    assert got == [0, 1]


def test_what_waits_for_a_session_that_is_closed_is_told() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send(CREDIT)
        await socket.wait_closed()

    async def scenario() -> None:
        async with session_with(handler) as session:
            await session.put(b"x", captured_at=0.0, metadata={})
            draining = asyncio.create_task(session.drain())
            await asyncio.sleep(0)
            await session.close()
            with pytest.raises((NotFoundError, UnavailableError)):
                await draining
            assert await session.unread.read() == []

    run(scenario)
