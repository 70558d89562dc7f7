"""Part `kills` of the scenario `streams`: replicas die under eight streams, and nothing that is told changes."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from load_tests.efficiency import say
from load_tests.service import Service
from load_tests.streams_account import crossing_error, crossings, differing_frames, faults, reasons
from load_tests.streams_cameras import LINES, Camera, LiveStream, until
from load_tests.streams_footage import footage
from load_tests.streams_http import JPEG, Connection
from load_tests.streams_processes import replicas

STREAMS, FRAMES, RATE_HZ = 8, 300, 2.0
STAGES = ("Tracker", "Detector", "Decoder", "Ingress")
SETTLED_S = 6.0
"""From a recovery to the next kill."""
_LONGEST_S = 60.0
_PROBE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A kill: seconds until the replacement of what was killed answered, and from then until every stream had."""

    stage: str
    replaced_s: float
    recovery_s: float


async def kills(service: Service) -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details."""
    jpegs = footage(STREAMS, FRAMES)
    say(f"kills: {STREAMS} streams at {RATE_HZ:g} frames/s each")
    cpu_s, begin_s = time.process_time(), time.monotonic()
    stop = asyncio.Event()
    cameras = [Camera(await _opened(service), shots, rate_hz=RATE_HZ) for shots in jpegs]
    killing = asyncio.create_task(_kill_in_turn(service, cameras, jpegs[0][0], stop))
    recoveries = await _pushed(cameras, stop, killing)
    client_share = (time.process_time() - cpu_s) / (time.monotonic() - begin_s)
    say("kills: the same frames, undisturbed")
    frames = [len(camera.stream.account.answers) for camera in cameras]
    again = [
        Camera(await _opened(service), shots[:count], rate_hz=None) for shots, count in zip(jpegs, frames, strict=True)
    ]
    await _pushed(again, asyncio.Event())
    found: Counter[str] = Counter()
    for camera in (*cameras, *again):
        found += faults(camera.stream.account, pushed=len(camera.stream.account.answers))
    pairs = [(ours.stream.account, theirs.stream.account) for ours, theirs in zip(cameras, again, strict=True)]
    figures = {
        "lost_frames": float(found["lost"]),
        "duplicated_frames": float(found["duplicated"]),
        "recovery_s": max(recovery.recovery_s for recovery in recoveries),
        "crossing_error": float(max(crossing_error(*pair) for pair in pairs)),
        "other_faults": float(found.total() - found["lost"] - found["duplicated"]),
        "differing_frames": float(sum(differing_frames(*pair) for pair in pairs)),
    }
    return figures, {
        "recoveries": [asdict(recovery) for recovery in recoveries],
        "faults": dict(found),
        "frames": sum(frames),
        "pushed_again": sum(camera.pushed_again for camera in cameras),
        "crossings": [crossings(control) for _, control in pairs],
        "not_results": dict(sum((reasons(account) for account, _ in pairs), Counter())),
        "client_cpu_share": client_share,
    }


async def _opened(service: Service) -> LiveStream:
    return await LiveStream.open(service, lines=LINES)


async def _pushed(
    cameras: Sequence[Camera], stop: asyncio.Event, killing: asyncio.Task[list[Recovery]] | None = None
) -> list[Recovery]:
    """Push everything, read everything; what `killing` found."""
    reading = [asyncio.create_task(camera.stream.read_live()) for camera in cameras]
    running = [asyncio.create_task(camera.run(stop)) for camera in cameras]
    try:
        recoveries = await killing if killing else []
    finally:
        await asyncio.gather(*running)
    for camera, reader in zip(cameras, reading, strict=True):
        last = len(camera.stream.account.answers) - 1
        await asyncio.wait_for(camera.stream.read_log(until_seq=last), _LONGEST_S)
        await camera.stream.close()
        await asyncio.wait({reader}, timeout=0.2)  # the farewell is on its way
        reader.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    return recoveries


async def _kill_in_turn(
    service: Service, cameras: Sequence[Camera], jpeg: bytes, stop: asyncio.Event
) -> list[Recovery]:
    recoveries = []
    try:
        for stage in STAGES:
            await asyncio.sleep(SETTLED_S)
            recoveries.append(recovery := await _killed(service, cameras, stage, jpeg))
            say(
                f"kills: {stage} was back in {recovery.replaced_s:.1f} s, all streams {recovery.recovery_s:.2f} s after"
            )
        await asyncio.sleep(SETTLED_S)
    finally:
        stop.set()
    return recoveries


async def _killed(service: Service, cameras: Sequence[Camera], stage: str, jpeg: bytes) -> Recovery:
    before = replicas(service, stage)
    killed_s = time.monotonic()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    # A zombie has no program any more.
    await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in before), within_s=_LONGEST_S)
    back_s = await asyncio.wait_for(_answers(service, stage, jpeg), _LONGEST_S)
    await until(lambda: min(camera.answered_s[-1] for camera in cameras) >= back_s, within_s=_LONGEST_S)
    if not replicas(service, stage) or set(replicas(service, stage)) & set(before):
        raise RuntimeError(f"{stage} was not replaced")
    firsts = [next(at_s for at_s in camera.answered_s if at_s >= back_s) for camera in cameras]
    return Recovery(stage=stage, replaced_s=back_s - killed_s, recovery_s=max(firsts) - back_s)


async def _answers(service: Service, stage: str, jpeg: bytes) -> float:
    """When a call through that stage, which has nothing to do with the streams, was first answered by it."""
    probes: set[asyncio.Task[float]] = set()
    try:
        while True:
            probes.add(asyncio.create_task(_probe(service, stage, jpeg)))
            done, probes = await asyncio.wait(probes, timeout=_PROBE_S, return_when=asyncio.FIRST_COMPLETED)
            times_s = [probe.result() for probe in done if probe.exception() is None]
            if times_s:
                return min(times_s)
            if done:
                await asyncio.sleep(_PROBE_S)
    finally:
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


async def _probe(service: Service, stage: str, jpeg: bytes) -> float:
    """The time of the answer; ConnectionError when it was none of that stage."""
    connection = Connection(service.host, service.port)
    method, path, body, expected = {
        "Ingress": ("GET", "/healthz", b"", 200),
        # No such stream: only its would-be owner can say so, who has asked the store.
        "Tracker": ("GET", f"/v1/streams/{0:032x}", b"", 404),
    }.get(stage, ("POST", "/v1/detections", jpeg, 200))
    with contextlib.closing(connection):
        answer = await connection.ask(method, path, body, content_type=JPEG)
    if answer.status != expected:
        raise ConnectionError(str(answer.status))
    return time.monotonic()
