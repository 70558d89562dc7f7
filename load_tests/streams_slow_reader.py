"""Part `slow_reader` of the scenario `streams`: who reads slowly, or not at all, costs the other readers nothing."""

import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from load_tests.efficiency import say
from load_tests.service import Service, rss_bytes
from load_tests.streams_cameras import LINES, LiveStream, until
from load_tests.streams_footage import footage
from load_tests.streams_overload import TOGETHER, Pushes
from load_tests.streams_processes import by_part

STREAMS, FRAMES = 4, 300
BUSY_HZ, QUIET_HZ = 8.0, 3.0
ROUNDS, TURN_S = 7, 7.0
_LONGEST_S = 30.0
ZONES = [{"name": f"{index:0>100}", "polygon": [[0.0, 0.0], [0.01, 0.0], [0.0, 0.01]]} for index in range(64)]
"""Each result tells the count of each; nobody gets there."""
HISTORY = 1024
"""Events of a stream that the service remembers, from `StreamLimits`."""
MIB = 2**20


class Readers:
    """Four streams that are pushed, each with a reader that keeps up."""

    def __init__(self, streams: Sequence[LiveStream], jpegs: Sequence[Sequence[bytes]]) -> None:
        self.streams = streams
        self.pushes = [Pushes(stream, shots) for stream, shots in zip(streams, jpegs, strict=True)]
        self.arrived_s: list[dict[int, float]] = [{} for _ in streams]
        self._reading: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read."""
        pairs = zip(self.streams, self.arrived_s, strict=True)
        self._reading = [asyncio.create_task(stream.read_live(arrived_s=arrived_s)) for stream, arrived_s in pairs]

    async def turn(self) -> list[float]:
        """Seconds from a push to its event, of all frames of one turn."""
        for pushes in self.pushes:
            pushes.begun_s.clear()
        rates_hz = (BUSY_HZ, *(QUIET_HZ for _ in self.pushes[1:]))
        sending = zip(self.pushes, rates_hz, strict=True)
        await asyncio.gather(*(pushes.send(rate_hz, seconds=TURN_S) for pushes, rate_hz in sending))
        await until(self._have_all, within_s=_LONGEST_S)
        return [
            arrived_s[seq] - begun_s for pushes, arrived_s in self._pairs() for seq, begun_s in pushes.begun_s.items()
        ]

    def _have_all(self) -> bool:
        return not any(pushes.begun_s.keys() - arrived_s.keys() for pushes, arrived_s in self._pairs())

    def _pairs(self) -> list[tuple[Pushes, dict[int, float]]]:
        return list(zip(self.pushes, self.arrived_s, strict=True))

    async def stop(self) -> None:
        """Hang up and close the streams."""
        for reader in self._reading:
            reader.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        for pushes, stream in zip(self.pushes, self.streams, strict=True):
            pushes.close()
            await stream.close()


async def slow_reader(service: Service) -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details."""
    jpegs = footage(STREAMS, FRAMES)
    say("slow_reader: filling the busy stream's history")
    # Many zones make long events: more than the sockets on the way to a slow reader take in.
    busy = await LiveStream.open(service, lines=LINES, zones=ZONES)
    readers = Readers([busy, *[await LiveStream.open(service, lines=LINES) for _ in jpegs[1:]]], jpegs)
    while len(readers.pushes[0].begun_s) < HISTORY:
        await readers.pushes[0].keep(TOGETHER, seconds=1.0)
    readers.start()
    await readers.turn()
    say(f"slow_reader: {ROUNDS} rounds of {2 * TURN_S:.0f} s, without and with slow readers")
    p99_s: dict[bool, list[float]] = {False: [], True: []}
    turns: list[tuple[bool, dict[str, float]]] = []
    cpu_s, begin_s = time.process_time(), time.monotonic()
    for index in range(2 * ROUNDS):
        is_slow = index % 4 in {1, 2}  # without, with, with, without, …
        async with _slow_readers(busy) if is_slow else contextlib.nullcontext():
            watching = asyncio.create_task(_peak_mib(service))
            p99_s[is_slow].append(statistics.quantiles(await readers.turn(), n=100)[98])
            watching.cancel()
            turns.append((is_slow, await watching))
    client_share = (time.process_time() - cpu_s) / (time.monotonic() - begin_s)
    await busy.read_log(until_seq=max(readers.pushes[0].begun_s))
    await readers.stop()
    # What a turn took from the system it keeps: slow readers show once, against the turn before.
    totals_mib = [sum(held_mib.values()) for _, held_mib in turns]
    grown_mib = [later - before for before, later in pairwise(totals_mib)]
    return {
        "slow_reader_p99_ratio": statistics.median(p99_s[True]) / statistics.median(p99_s[False]),
        "slow_reader_rss_mib": max(grown for grown, (is_slow, _) in zip(grown_mib, turns[1:], strict=True) if is_slow),
    }, {
        "p99_s": p99_s[False],
        "p99_with_slow_readers_s": p99_s[True],
        "turns": [{"with_slow_readers": is_slow, "rss_mib": held_mib} for is_slow, held_mib in turns],
        "history_bytes": sum(map(len, busy.account.log)),
        "events": len(busy.account.log),
        "client_cpu_share": client_share,
    }


async def _peak_mib(service: Service) -> dict[str, float]:
    """The most that each part held, until cancelled."""
    peak: dict[str, float] = {}
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            now = {part: held_bytes / MIB for part, held_bytes in by_part(service, rss_bytes).items()}
            peak = {part: round(max(held_mib, peak.get(part, 0.0)), 1) for part, held_mib in now.items()}
            await asyncio.sleep(1.0)
    return peak


@contextlib.asynccontextmanager
async def _slow_readers(stream: LiveStream) -> AsyncIterator[None]:
    """Two readers more, who want the whole history: one takes an event a second, the other never takes anything."""
    host, port = stream.service.host, stream.service.port
    request = f"GET {stream.path}/events HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the least that the system gives
            one.setblocking(False)
            await loop.sock_connect(one, (host, port))
            await loop.sock_sendall(one, request)
        reading = asyncio.create_task(_take_an_event_a_second(sockets[0]))
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _take_an_event_a_second(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        while b"\n{" not in await loop.sock_recv(connection, 1024):
            pass
        await asyncio.sleep(1.0)
