"""`WS /v1/streams/{id}/ws`: frames in as `VideoFrame` messages, events and credits out as JSON."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from app.api.sent_frame import MAX_MESSAGE_BYTES, parse
from app.api.stream_pump import PumpPorts, Start, StreamPump
from app.api.tenancy import client_of
from app.api.told import Told
from app.core.errors import (
    InternalError,
    InvalidParameterError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    SightlineError,
    TooLargeError,
)
from app.core.wire import WireEvent

LOG = logging.getLogger("sightline")
CLOSE_S: Final = 1.0
_REASON_BYTES: Final = 123
"""Source: RFC 6455, 5.5.1: a close frame has 125 bytes, two of them the code."""
# Source: RFC 6455, 7.4.1, and the registry that it founds.
CLOSED, POLICY, TOO_BIG, INTERNAL, RESTART, OVERLOADED = 1000, 1008, 1009, 1011, 1012, 1013
NOT_BINARY, MALFORMED = 1003, 1007


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    code: int
    reason: str = ""


def router(ports: PumpPorts, *, stalled_s: float = 30.0) -> APIRouter:
    """The route; a client that takes nothing for `stalled_s` seconds is cut off."""
    routes = APIRouter()

    @routes.websocket("/v1/streams/{stream_id}/ws")
    async def connected(socket: WebSocket, stream_id: str) -> None:
        await socket.accept()
        try:
            start = _start(socket)
        except InvalidParameterError as error:
            await _close(socket, _ending_of(error))
            return
        pump = StreamPump(stream_id, ports.seen_by(client_of(socket)), start=start)
        receiving = asyncio.create_task(_receive(socket, pump, stream_id=stream_id))
        sending = asyncio.create_task(_send(socket, pump, stalled_s=stalled_s))
        try:
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
            first = sending if sending.done() else receiving
            ending = _outcome(first)
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)
            await pump.close()
        if ending is not None:
            await _close(socket, ending)

    return routes


async def _receive(socket: WebSocket, pump: StreamPump, *, stream_id: str) -> _Ending | None:
    """Take in what comes until the client goes; never waits for anything else, so that nothing piles up before us."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        data = message.get("bytes")
        if data is None:
            return _Ending(code=NOT_BINARY, reason="a message is a VideoFrame in binary")
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLargeError(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
        frame = parse(data)
        if frame.stream_id not in {"", stream_id}:
            raise InvalidParameterError("stream_id: this connection is of another stream")
        pump.take(frame)


async def _send(socket: WebSocket, pump: StreamPump, *, stalled_s: float) -> _Ending:
    """Send what is told until the stream ends, or this replica."""
    async for told in pump.told():
        for item in told:
            try:
                async with asyncio.timeout(stalled_s):
                    await socket.send_text(as_text(item))
                await asyncio.sleep(0)  # sending does not wait while there is room, and others want the loop too
            except TimeoutError:
                return _Ending(code=OVERLOADED, reason="nothing was read for too long")
    return _Ending(code=CLOSED if pump.is_closed else RESTART)


def as_text(told: Told) -> str:
    """The message's JSON: an event as it is, or what only transports carry."""
    if isinstance(told, WireEvent):
        return told.body.decode()
    return json.dumps({"schema": f"sightline.v1.{type(told).__name__}", **asdict(told)}, separators=(",", ":"))


def _start(socket: WebSocket) -> Start:
    since = socket.query_params.get("since")
    return Start(since=None if since is None else _seq(since), token=socket.query_params.get("resume"))


def _seq(text: str) -> int:
    if text == "-1":
        return -1
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(1 << 63)) or int(text) >= 1 << 63:
        raise InvalidParameterError("since: a frame's number, or -1")
    return int(text)


def _outcome(task: "asyncio.Task[_Ending] | asyncio.Task[_Ending | None]") -> _Ending | None:
    """How to close; None when the client has gone."""
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, WebSocketDisconnect):
        return None
    if isinstance(error, SightlineError):
        return _ending_of(error)
    LOG.error("a WebSocket failed", exc_info=error)
    return _ending_of(InternalError())


def _ending_of(error: SightlineError) -> _Ending:
    code = INTERNAL
    match error:
        case InvalidRequestError():
            code = MALFORMED
        case TooLargeError():
            code = TOO_BIG
        case NotFoundError() | InvalidParameterError():
            code = POLICY
        case OverloadedError():
            code = OVERLOADED
        case _:
            pass
    reason = f"{error.code}: {error.detail}".encode()[:_REASON_BYTES]
    return _Ending(code=code, reason=reason.decode(errors="ignore"))


async def _close(socket: WebSocket, ending: _Ending) -> None:
    """Say goodbye; a client that reads nothing is left without."""
    with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(ending.code, ending.reason)
