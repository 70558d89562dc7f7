"""One trial of `sightline bench cameras`: so many live streams, each pushed on time, and how old results were."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Final

import numpy as np

from app.client import AsyncSightline, AsyncStream
from app.client.picture import jpeg
from app.command.bench_planner import Trial
from app.core.errors import SightlineError
from app.core.result import FrameResult, Status

PICTURES: Final = 30
_PATCHES: Final = 40
_GRACE_S: Final = 10.0
"""How long results may still be on their way when the last frame was captured."""
_HEAD_START_S: Final = 0.2


@dataclass(slots=True)
class _Seen:
    """What one trial has seen, in monotonic seconds."""

    latency_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    captured: int = 0
    timings: list[dict[str, float]] = field(default_factory=list)


async def trial(
    client: AsyncSightline, pictures: Sequence[bytes], *, cameras: int, fps: float, seconds: float
) -> tuple[Trial, list[dict[str, float]]]:
    """So many cameras of `fps` frames a second, their captures spread evenly over an interval; the answers' timings.

    A frame is captured when it is due, whether or not it can be sent then. One without a result counts as endless.
    """
    seen = _Seen()
    begin_s, cpu_s = time.monotonic(), time.process_time()
    streams = [await client.open(label=f"bench {n}", mode="every_frame") for n in range(cameras)]
    try:
        start_s = time.monotonic() + _HEAD_START_S
        await asyncio.gather(
            *(
                _camera(stream, pictures, seen=seen, start_s=start_s + n / (cameras * fps), fps=fps, seconds=seconds)
                for n, stream in enumerate(streams)
            )
        )
    finally:
        for stream in streams:
            await stream.close()
            with suppress(SightlineError):  # it may have gone with the service
                await client.close_stream(stream.stream_id)
    share = (time.process_time() - cpu_s) / (time.monotonic() - begin_s)
    whole_s = np.array(seen.latency_s + [inf] * (seen.captured - len(seen.latency_s)))
    return Trial(
        cameras=cameras,
        latency_p50_s=_quantile_s(whole_s, 0.5),
        latency_p99_s=_quantile_s(whole_s, 0.99),
        captured=seen.captured,
        answered=len(seen.latency_s),
        late_p99_s=_quantile_s(np.array(seen.late_s), 0.99),
        client_share=share,
    ), seen.timings


async def _camera(
    stream: AsyncStream, pictures: Sequence[bytes], *, seen: _Seen, start_s: float, fps: float, seconds: float
) -> None:
    """Push until the end of the trial, and wait for what is on its way."""
    frames = max(1, round(seconds * fps))
    due_s = [start_s + frame / fps for frame in range(frames)]
    seen.captured += frames
    first_seq: list[int] = []
    reading = asyncio.create_task(_read(stream, due_s, first_seq, seen))
    try:
        async with asyncio.timeout_at(_loop_s(due_s[-1]) + _GRACE_S):
            for frame, due in enumerate(due_s):
                if (ahead_s := due - time.monotonic()) > 0:
                    await asyncio.sleep(ahead_s)
                    # Only of a frame that was slept for: one behind time waited for room at the service.
                    seen.late_s.append(time.monotonic() - due)
                seq = await stream.send(pictures[frame % len(pictures)])
                if frame == 0:
                    first_seq.append(seq)
            await reading
    except (TimeoutError, SightlineError):
        pass  # what has no result by now counts as endless
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, SightlineError):
            await reading


async def _read(stream: AsyncStream, due_s: Sequence[float], first_seq: Sequence[int], seen: _Seen) -> None:
    """Until every frame has come to its end."""
    left = len(due_s)
    async for event in stream.events():
        if not isinstance(event, FrameResult):
            continue
        if event.status is Status.RESULT:
            seen.latency_s.append(time.monotonic() - due_s[event.seq - first_seq[0]])
            seen.timings.append(asdict(event.timings))
        left -= 1
        if left == 0:
            return


def drawn(width_px: int, height_px: int) -> list[bytes]:
    """Pictures to send where nobody has any: shades with patches on them that move, as JPEGs."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    ground = np.stack([rows * 160 // height_px, columns * 160 // width_px, (rows + columns) % 97], axis=-1)
    ground = (ground + random.integers(0, 12, size=(height_px, width_px, 1))).astype(np.uint8)
    at = random.uniform(0, 1, size=(_PATCHES, 2))
    pace = random.uniform(-0.02, 0.02, size=(_PATCHES, 2))
    shades = random.integers(0, 255, size=(_PATCHES, 3), dtype=np.uint8)
    side_px = max(2, min(width_px, height_px) // 12)
    pictures = []
    for frame in range(PICTURES):
        picture = ground.copy()
        for (top, left), shade in zip((at + frame * pace) % 1, shades, strict=True):
            y, x = int(top * height_px), int(left * width_px)
            picture[y : y + side_px, x : x + side_px] = shade
        pictures.append(jpeg(picture))
    return pictures


def _quantile_s(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else 0.0


def _loop_s(monotonic_s: float) -> float:
    """The same moment on the event loop's clock."""
    return asyncio.get_running_loop().time() + monotonic_s - time.monotonic()
