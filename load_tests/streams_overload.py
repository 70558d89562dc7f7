"""Part `overload` of the scenario `streams`: three times what the engine can do, where only the newest counts."""

import asyncio
import contextlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from load_tests.efficiency import say
from load_tests.service import Service, cpu_s
from load_tests.streams_cameras import LiveStream
from load_tests.streams_footage import footage
from load_tests.streams_http import JPEG, Connection
from load_tests.streams_processes import by_part

FRAMES = 300
CAPACITY_S, OVERLOAD_S = 6.0, 10.0
WARM_S = 2.0
FACTOR = 3.0
TOGETHER = 16
"""Frames under way at once where the most that one stream can do is measured: below the window of 24."""


class Pushes:
    """Frames pushed without a number, each over a connection that is free; when, and what became of them."""

    def __init__(self, stream: LiveStream, jpegs: Sequence[bytes]) -> None:
        self.ends: Counter[str] = Counter()
        self.ages_s: list[float] = []
        self.totals_s: list[float] = []
        self.begun_s: dict[int, float] = {}
        self._stream = stream
        self._jpegs = jpegs
        self._count = 0
        self._free: list[Connection] = []

    async def push(self) -> None:
        """One frame, captured now."""
        captured_at = datetime.now(tz=UTC).isoformat().replace("+", "%2B")
        begun_s = time.monotonic()
        jpeg = self._jpegs[self._count % len(self._jpegs)]
        self._count += 1
        service = self._stream.service
        connection = self._free.pop() if self._free else Connection(service.host, service.port)
        answer = await connection.ask(
            "POST", f"{self._stream.path}/frames?captured_at={captured_at}", jpeg, content_type=JPEG
        )
        self._free.append(connection)
        end: dict[str, Any] = json.loads(answer.body)
        self.begun_s[end["seq"]] = begun_s
        self.ends[str(end.get("reason") or end["status"])] += 1
        if end["status"] == "result":
            self.ages_s.append(time.monotonic() - begun_s)
            self.totals_s.append(end["timings"]["total_s"])

    async def keep(self, together: int, *, seconds: float) -> float:
        """Always so many under way; results a second."""
        begin_s = time.monotonic()

        async def again() -> None:
            while time.monotonic() < begin_s + seconds:
                await self.push()

        before = self.ends["result"]
        await asyncio.gather(*(again() for _ in range(together)))
        return (self.ends["result"] - before) / (time.monotonic() - begin_s)

    async def send(self, rate_hz: float, *, seconds: float) -> float:
        """So many a second, whatever becomes of them; how many a second they were."""
        begin_s = time.monotonic()
        under_way = []
        for index in range(int(rate_hz * seconds)):
            await asyncio.sleep(max(0.0, begin_s + index / rate_hz - time.monotonic()))
            under_way.append(asyncio.create_task(self.push()))
        sent_s = time.monotonic() - begin_s
        await asyncio.gather(*under_way)
        return len(under_way) / sent_s

    def close(self) -> None:
        """Hang up."""
        for connection in self._free:
            connection.close()


async def overload(service: Service) -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details. What the engine can do is what it answers one stream that sends a frame after the other.

    `batched` is the same at three times what it answers where many frames of the stream are under way.
    """
    jpegs = footage(1, FRAMES)[0]
    say("overload: what the engine can do for one stream")
    one_hz = await _capacity(service, jpegs, together=1)
    many_hz = await _capacity(service, jpegs, together=TOGETHER)
    say(f"overload: {one_hz:.1f} frames/s one at a time, {many_hz:.1f} in batches; {FACTOR:g} times that now")
    flood = await _flooded(service, jpegs, rate_hz=FACTOR * one_hz)
    batched = await _flooded(service, jpegs, rate_hz=FACTOR * many_hz)
    figures = {
        "overload_age_p99_s": flood["age_p99_s"],
        "overload_age_intervals": flood["age_p99_s"] * one_hz,
        "overload_lost": float(flood["lost"] + batched["lost"]),
    }
    return figures, {"one_at_a_time_hz": one_hz, "batched_hz": many_hz, "one_at_a_time": flood, "batched": batched}


async def _flooded(service: Service, jpegs: Sequence[bytes], *, rate_hz: float) -> dict[str, Any]:
    stream = await LiveStream.open(service, mode="latest_frame")
    with contextlib.closing(Pushes(stream, jpegs)) as pushes:
        await pushes.send(rate_hz, seconds=WARM_S)
        pushes.ages_s.clear()
        pushes.totals_s.clear()
        pushes.ends.clear()
        own_cpu_s, before_s, begin_s = time.process_time(), by_part(service, cpu_s), time.monotonic()
        sent_hz = await pushes.send(rate_hz, seconds=OVERLOAD_S)
        elapsed_s = time.monotonic() - begin_s
        cores = {
            part: (used_s - before_s.get(part, 0.0)) / elapsed_s for part, used_s in by_part(service, cpu_s).items()
        }
        client_share = (time.process_time() - own_cpu_s) / elapsed_s
    await stream.close()
    account = stream.account.closing
    return {
        "sent_hz": sent_hz,
        "answered_hz": len(pushes.ages_s) / elapsed_s,
        "age_p50_s": statistics.median(pushes.ages_s),
        "age_p99_s": statistics.quantiles(pushes.ages_s, n=100)[98],
        "owner_p50_s": statistics.median(pushes.totals_s),
        "owner_p99_s": statistics.quantiles(pushes.totals_s, n=100)[98],
        "ends": dict(pushes.ends),
        "lost": account["captured"] - account["answered"] - sum(account["dropped"].values()),
        "cores": {part: round(share, 3) for part, share in cores.items()},
        "client_cpu_share": client_share,
    }


async def _capacity(service: Service, jpegs: Sequence[bytes], *, together: int) -> float:
    stream = await LiveStream.open(service)
    with contextlib.closing(Pushes(stream, jpegs)) as pushes:
        await pushes.keep(together, seconds=WARM_S)
        rate_hz = await pushes.keep(together, seconds=CAPACITY_S)
    await stream.close()
    return rate_hz
