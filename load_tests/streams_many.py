"""Part `many` of the scenario `streams`: what an open stream costs, and a pushed one, as they grow in number."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from load_tests.efficiency import say
from load_tests.evidence import RESULTS
from load_tests.service import Service, rss_bytes
from load_tests.streams_cameras import LINES, LiveStream
from load_tests.streams_footage import footage
from load_tests.streams_overload import TOGETHER, Pushes
from load_tests.streams_plot import Panel, plot
from load_tests.streams_processes import KEEPERS, by_part

IDLE, ACTIVE = (0, 20, 50, 100), (0, 5, 10, 20)
RATE_HZ = 1.0
SETTLE_S, TURN_S, WARM_S = 3.0, 15.0, 8.0
FRAMES = 300
KIB = 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """What one stream more costs, and the share of the variance that a straight line explains."""

    each: float
    r2: float

    @classmethod
    def of(cls, counts: Sequence[int], costs: Sequence[float]) -> "Slope":
        """The straight line closest to the points."""
        each, _ = np.polyfit(counts, costs, 1)
        return cls(each=float(each), r2=float(np.corrcoef(counts, costs)[0, 1] ** 2))


async def many(service: Service) -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details; draws the plot."""
    jpegs = footage(4, FRAMES)
    await _warm(service, jpegs[0])
    idle: list[LiveStream] = []
    idle_kib, idle_cores = [], []
    for count in IDLE:
        idle += [await LiveStream.open(service, lines=LINES) for _ in range(count - len(idle))]
        await asyncio.sleep(SETTLE_S)
        idle_cores.append(await _cores(service, asyncio.sleep(SETTLE_S)))
        idle_kib.append(_held_kib(service))
        say(f"many: {count} idle streams, {idle_kib[-1] / KIB:.1f} MiB, {idle_cores[-1]:.3f} cores")
    streams = [await LiveStream.open(service, lines=LINES) for _ in range(max(ACTIVE))]
    pushes = [Pushes(stream, jpegs[index % len(jpegs)]) for index, stream in enumerate(streams)]
    active_kib, active_cores = [], []
    client_cpu_s = 0.0
    for count in ACTIVE:
        cpu_s = time.process_time()
        active_cores.append(await _cores(service, _push(pushes[:count])))
        client_cpu_s = time.process_time() - cpu_s
        active_kib.append(_held_kib(service))
        say(f"many: {count} active streams, {active_kib[-1] / KIB:.1f} MiB, {active_cores[-1]:.3f} cores")
    ends = sum((one.ends for one in pushes), Counter())
    for one in pushes:
        one.close()
    for stream in (*idle, *streams):
        await stream.close()
    slopes = {
        "idle_memory": Slope.of(IDLE, idle_kib),
        "active_memory": Slope.of(ACTIVE, active_kib),
        "active_cores": Slope.of(ACTIVE, active_cores),
    }
    idle_panel = Panel(title="memory of idle streams", across="streams", up="MiB more", x=IDLE, y=_mib(idle_kib))
    active_panel = Panel(
        title="memory of active streams", across="streams", up="MiB more", x=ACTIVE, y=_mib(active_kib)
    )
    processor = Panel(title=f"processor at {RATE_HZ:g} frame/s", across="streams", up="cores", x=ACTIVE, y=active_cores)
    plot(RESULTS / "streams.svg", [idle_panel, active_panel, processor])
    return {
        "idle_stream_kib": slopes["idle_memory"].each,
        "active_stream_kib": slopes["active_memory"].each,
        "active_stream_cores": slopes["active_cores"].each,
        "active_cores_r2": slopes["active_cores"].r2,
    }, {
        "idle": {"streams": IDLE, "kib": idle_kib, "cores": idle_cores},
        "active": {"streams": ACTIVE, "kib": active_kib, "cores": active_cores, "rate_hz": RATE_HZ},
        "slopes": {name: asdict(slope) for name, slope in slopes.items()},
        "frames_of_each": TURN_S * RATE_HZ,
        "ends": dict(ends),
        "client_cpu_share": client_cpu_s / TURN_S,
    }


async def _warm(service: Service, jpegs: Sequence[bytes]) -> None:
    """Have every part do its work for a while: what it then holds it holds without any stream."""
    stream = await LiveStream.open(service, lines=LINES)
    pushes = Pushes(stream, jpegs)
    await pushes.keep(TOGETHER, seconds=WARM_S)
    pushes.close()
    await stream.close()


async def _push(pushes: Sequence[Pushes]) -> None:
    """Frames for each of these streams, not all at the same moment; none at all takes as long."""

    async def later(index: int, one: Pushes) -> None:
        await asyncio.sleep(index / len(pushes) / RATE_HZ)
        await one.send(RATE_HZ, seconds=TURN_S)

    await asyncio.gather(asyncio.sleep(TURN_S), *(later(*numbered) for numbered in enumerate(pushes)))


async def _cores(service: Service, work: Any) -> float:
    """Cores that all processes of the service have in use meanwhile."""
    cpu_s, begin_s = service.cpu_s(), time.monotonic()
    await work
    return (service.cpu_s() - cpu_s) / (time.monotonic() - begin_s)


def _held_kib(service: Service) -> float:
    held_bytes = by_part(service, rss_bytes)
    return sum(held_bytes[part] for part in KEEPERS) / KIB


def _mib(kib: Sequence[float]) -> list[float]:
    """More than there was without any stream."""
    return [(value - kib[0]) / KIB for value in kib]
