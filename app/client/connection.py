"""One WebSocket connection to a stream: the messages both ways, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from google.protobuf.timestamp_pb2 import Timestamp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from app.client.errors import AnswerError, named, refusal
from app.client.outbox import OutgoingFrame
from app.client.reading import Told, told
from app.contract.vision_pb2 import VideoFrame
from app.core.errors import InternalError, InvalidParameterError, OverloadedError, SightlineError, UnavailableError

OPEN_S: Final = 10.0
"""How long the service may take to accept a connection, and again to say the first word."""
PING_S: Final = 5.0
SILENT_S: Final = 10.0
"""Every 5 s a ping; one without its answer for 10 s means that the network is gone."""
CLOSE_S: Final = 1.0
# Source: RFC 6455, 7.4.1, and the registry that it founds; what each means here: app/api/websocket.py.
CLOSED, NOT_BINARY, MALFORMED, POLICY, TOO_BIG = 1000, 1003, 1007, 1008, 1009
_FINAL: Final = {NOT_BINARY, MALFORMED, POLICY, TOO_BIG}
_NANOS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the connections of one stream lead to. `token` is for the first one, from opening the stream."""

    url: str
    stream_id: str
    headers: Mapping[str, str]
    token: str | None = None

    def address(self, *, since: int, token: str | None) -> str:
        """Where to connect, to read on after frame `since`."""
        parts = urlsplit(self.url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        query = urlencode({"since": since} | ({} if token is None else {"resume": token}))
        return urlunsplit((scheme, parts.netloc, f"{parts.path}/v1/streams/{self.stream_id}/ws", query, ""))


class LostError(Exception):
    """The connection is gone, `cause` says why; another may be tried, in `after_s` seconds at the earliest."""

    def __init__(self, cause: SightlineError, *, after_s: float = 0.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.after_s = after_s


class Connection:
    """An open connection. Every method raises LostError when it breaks, and a SightlineError when no other will do."""

    def __init__(self, socket: ClientConnection, door: Door) -> None:
        self._socket = socket
        self._stream_id = door.stream_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def send(self, frame: OutgoingFrame) -> None:
        """Send one frame; waits while the network takes nothing."""
        try:
            await self._socket.send(message_of(frame))
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def read(self) -> Told | None:
        """The next message of a kind that we know; None when the stream has ended well."""
        while True:
            try:
                text = await self._socket.recv()
            except ConnectionClosed as error:
                if error.rcvd is not None and error.rcvd.code == CLOSED:
                    return None
                raise _lost(error) from error
            try:
                message = told(text)
            except AnswerError as error:
                raise LostError(error) from error
            if message is not None:
                return message


async def dial(door: Door, *, since: int, token: str | None) -> Connection:
    """A new connection. LostError where another try may do better, a SightlineError where none will."""
    try:
        socket = await connect(
            door.address(since=since, token=token),
            additional_headers=dict(door.headers),
            compression=None,  # JPEGs are compressed already
            open_timeout=OPEN_S,
            ping_interval=PING_S,
            ping_timeout=SILENT_S,
            close_timeout=CLOSE_S,
        )
    except InvalidStatus as error:
        answer = error.response
        later = answer.headers.get("retry-after")
        failure = refusal(answer.status_code, bytes(answer.body or b""), retry_after=later)
        is_final = not isinstance(failure, OverloadedError | UnavailableError)
        if answer.status_code < InternalError.status and is_final:
            raise failure from error
        raise LostError(failure, after_s=0.0 if later is None else getattr(failure, "retry_after_s", 0.0)) from error
    except (OSError, TimeoutError, WebSocketException, EOFError) as error:
        raise LostError(UnavailableError(f"no connection: {error or type(error).__name__}")) from error
    return Connection(socket, door)


def _lost(error: ConnectionClosed) -> LostError | SightlineError:
    if error.rcvd is None:
        return LostError(UnavailableError("the connection broke"))
    code, _, detail = error.rcvd.reason.partition(": ")
    cause = named(code, detail)
    if error.rcvd.code in _FINAL:
        return cause or InvalidParameterError(error.rcvd.reason or f"closed with {error.rcvd.code}")
    return LostError(cause or UnavailableError(f"closed with {error.rcvd.code} {error.rcvd.reason}".rstrip()))


def message_of(frame: OutgoingFrame) -> bytes:
    """The frame as it is sent; InvalidParameterError for a time or metadata that cannot be."""
    try:
        seconds, rest_s = divmod(frame.captured_at, 1)
        message = VideoFrame(
            seq=frame.seq,
            captured_at=Timestamp(seconds=int(seconds), nanos=min(round(rest_s * _NANOS), _NANOS - 1)),
            data=frame.data,
            metadata=frame.metadata,
            dropped=None if frame.dropped is None else frame.dropped.value,
        )
        return message.SerializeToString()
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidParameterError(f"captured_at is a number of seconds, metadata holds text: {error}") from None
