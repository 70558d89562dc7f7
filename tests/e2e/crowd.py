"""Many clients at once: each on a connection of its own, each answer with its time."""

import asyncio
import time
from collections.abc import Sequence

from load_tests.service import Service
from tests.e2e.wire import Answer


async def converse(service: Service, data: bytes, *, after_s: float = 0.0) -> Answer:
    """One request, sent `after_s` from now, and its answer, which must say its length."""
    await asyncio.sleep(after_s)
    reader, writer = await asyncio.open_connection(service.host, service.port)
    try:
        writer.write(data)
        await writer.drain()
        sent_s = time.perf_counter()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = [(name.lower(), value) for name, value in pairs]
        body = await reader.readexactly(int(dict(headers)["content-length"]))
        spent_s = time.perf_counter() - sent_s
        return Answer(status=int(head[0].split()[1]), headers=headers, body=body, after_s=spent_s)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def crowd(service: Service, requests: Sequence[bytes], *, timeout_s: float = 60.0) -> list[Answer]:
    """All answers to requests sent at once; TimeoutError when one of them does not come."""

    async def run() -> list[Answer]:
        async with asyncio.timeout(timeout_s):
            return await asyncio.gather(*(converse(service, data) for data in requests))

    return asyncio.run(run())
