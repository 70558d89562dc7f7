"""A closed-loop HTTP client that costs next to nothing: prebuilt request bytes over keep-alive connections."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of load: answers by status, the latency of each in seconds, elapsed and client CPU seconds."""

    statuses: Counter[int]
    latencies_s: list[float]
    elapsed_s: float
    client_cpu_s: float

    @property
    def rate_hz(self) -> float:
        """Successful answers per second."""
        return self.statuses[200] / self.elapsed_s


def request_bytes(path: str, body: bytes, *, host: str, content_type: str = "image/jpeg") -> bytes:
    """One POST, ready to be written."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    length = next(int(field.split(b":")[1]) for field in fields if field.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(fields[0].split()[1])


async def _connection(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    first: int,
    end_s: float,
    statuses: Counter[int],
    out: list[float],
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    index = first
    try:
        while (start_s := time.perf_counter()) < end_s:
            writer.write(requests[index % len(requests)])
            index += 1
            statuses[await _answer(reader)] += 1
            out.append(time.perf_counter() - start_s)
    finally:
        writer.close()


def saturate(host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Turn:
    """Keep `connections` requests in flight for `seconds`; every request that was begun is waited for."""

    async def load() -> Turn:
        statuses: Counter[int] = Counter()
        latencies_s: list[float] = []
        start_s, cpu_start_s = time.perf_counter(), time.process_time()
        await asyncio.gather(
            *(
                _connection(host, port, requests, first=n, end_s=start_s + seconds, statuses=statuses, out=latencies_s)
                for n in range(connections)
            )
        )
        return Turn(statuses, latencies_s, time.perf_counter() - start_s, time.process_time() - cpu_start_s)

    return asyncio.run(load())


def upload(host: str, port: int, path: str, body: bytes, *, content_type: str = "video/mp4") -> tuple[bytes, float]:
    """Send a file and read the whole streamed answer at the same time: its body and the seconds it took."""

    async def run() -> tuple[bytes, float]:
        start_s = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, port)

        async def send() -> None:
            writer.write(
                request_bytes(path, b"", host=host, content_type=content_type).replace(
                    b"content-length: 0", f"content-length: {len(body)}\r\nconnection: close".encode()
                )
            )
            for start in range(0, len(body), 1 << 18):
                writer.write(body[start : start + (1 << 18)])
                await writer.drain()

        sending = asyncio.create_task(send())
        answer = await reader.read()
        await sending
        writer.close()
        return answer, time.perf_counter() - start_s

    return asyncio.run(run())
