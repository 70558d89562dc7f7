"""A TCP proxy that breaks connections off, in the middle of whatever they carry."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PIECE_BYTES = 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes to `port` of this machine.

    While `cuts_left`, every connection is broken off with a reset after a random number of bytes, of either direction:
    so some requests never arrive, and some arrive whose answers do not. `is_closed` lets nobody in.
    """

    def __init__(self, *, seed: int = 0, up_to_bytes: int = 30_000) -> None:
        self.target_port = 0
        self.port = 0
        self.cuts_left = 0
        self.cuts = 0
        self.is_closed = False
        self._random = random.Random(seed)
        self._up_to_bytes = up_to_bytes
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        upstream = None
        try:
            if self.is_closed:
                return
            from_target, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
            budget = [self._random.randrange(1, self._up_to_bytes)]
            ways = [
                asyncio.create_task(self._pass(reader, upstream, budget)),
                asyncio.create_task(self._pass(from_target, writer, budget)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            for end in (writer, upstream):
                if end is not None:
                    _reset(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: list[int]) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            budget[0] -= len(piece)
            if budget[0] < 0 and self.cuts_left:
                self.cuts_left -= 1
                self.cuts += 1
                return
            writer.write(piece)
            await writer.drain()

    def cut(self) -> None:
        """Break off every connection that there is."""
        for writer in list(self._writers):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without the usual goodbye: the other side gets an error, and loses what it had not read."""
    connected = writer.get_extra_info("socket")
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def proxying(target_port: int = 0, *, seed: int = 0, up_to_bytes: int = 30_000) -> AsyncIterator[Proxy]:
    """A proxy on a free port; where to may be set later."""
    proxy = Proxy(seed=seed, up_to_bytes=up_to_bytes)
    proxy.target_port = target_port
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
        await asyncio.sleep(0)
