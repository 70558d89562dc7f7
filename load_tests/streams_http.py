"""HTTP as the scenario `streams` speaks it: a connection that is opened anew after it broke, and endless answers."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

JPEG, JSON = "image/jpeg", "application/json"
_CHUNK_BYTES = 1 << 16
_LONGEST_CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes


class Connection:
    """A keep-alive connection to the service, for one call after the other."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", *, content_type: str = JSON) -> Answer:
        """The answer; ConnectionError when there is none, then the next call has a new connection."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: {content_type}\r\n"
        try:
            async with asyncio.timeout(_LONGEST_CALL_S):
                if self._ends is None:
                    self._ends = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._ends
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
                writer.write(body)
                status, length = _head(await reader.readuntil(b"\r\n\r\n"))
                if length is None:
                    raise ConnectionError("an answer without a length")
                return Answer(status, await reader.readexactly(length))
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise ConnectionError(str(error)) from None
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


async def told(host: str, port: int, path: str, *, last_event_id: str | None = None) -> AsyncGenerator[bytes, None]:
    """The lines of an answer as they come, until it ends or breaks; ConnectionError when it is no 200."""
    with contextlib.suppress(OSError, EOFError):
        reader, writer = await asyncio.open_connection(host, port, limit=_CHUNK_BYTES)
        try:
            last = f"last-event-id: {last_event_id}\r\n" if last_event_id else ""
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{last}\r\n".encode())
            status, _ = _head(await reader.readuntil(b"\r\n\r\n"))
            if status != 200:
                raise ConnectionRefusedError(f"{path} is answered with {status}")
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                *lines, rest = (rest + await reader.readexactly(size)).split(b"\n")
                await reader.readline()
                for line in lines:
                    yield line
        finally:
            writer.close()


def _head(head: bytes) -> tuple[int, int | None]:
    """The status and the length of the body, None where it comes in chunks."""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(head.split(b" ", 2)[1]), int(length[1]) if length else None
