"""`sightline bench`: what a running service holds, measured from outside."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, Final

from app.client import AsyncSightline
from app.client.clip import Clip
from app.command.bench_cameras import PICTURES, drawn, trial
from app.command.bench_planner import Bisection, Prediction, Trial, prediction
from app.core.errors import UndecodableError

_WARM_S: Final = 3.0


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when there is an answer, 1 when the client was too slow to give one."""
    pictures = await asyncio.to_thread(_pictures, arguments)
    plan = Bisection(most=arguments.most)
    trials: list[Trial] = []
    async with AsyncSightline(arguments.url) as client:
        await trial(client, pictures, cameras=1, fps=arguments.fps, seconds=_WARM_S)
        told: Prediction | None = None
        while (cameras := plan.following()) is not None:
            found, timings = await trial(
                client, pictures, cameras=cameras, fps=arguments.fps, seconds=arguments.seconds
            )
            trials.append(found)
            told = told or prediction(timings, cores=arguments.cores, fps=arguments.fps)
            is_held = found.is_held(arguments.slo_p99)
            _say(_words(found, is_held=is_held))
            if found.is_about_the_client(arguments.slo_p99):
                _say(
                    f"sightline: that may be the fault of this client: it was {found.late_p99_s:.3f} s late (p99)"
                    f" and used {found.client_share:.0%} of a core"
                )
                return 1
            plan.told(cameras, is_held=is_held)
    _show(arguments, held=plan.held, told=told, trials=trials, body_bytes=len(pictures[0]))
    return 0


def _show(
    arguments: argparse.Namespace, *, held: int, told: Prediction | None, trials: Sequence[Trial], body_bytes: int
) -> None:
    predicted = told.cameras if told is not None and isfinite(told.cameras) else 0.0
    ratio = held / predicted if predicted else 0.0
    _say(
        f"{held} cameras of {arguments.fps:g} fps within {arguments.slo_p99:g} s (p99); by the stages' own clocks"
        f" {arguments.cores} cores would hold {predicted:.1f}"
    )
    if not arguments.json:
        print(held)
        return
    answer: dict[str, Any] = {
        "cameras": held,
        "fps": arguments.fps,
        "slo_p99_s": arguments.slo_p99,
        "seconds": arguments.seconds,
        "body_bytes": body_bytes,
        "predicted_cameras": round(predicted, 3),
        "cameras_ratio": round(ratio, 4),
        "cores": arguments.cores,
        "stage_s_per_frame": None if told is None else round(told.frame_s, 6),
        "trials": [_finite(asdict(one)) for one in trials],
    }
    print(json.dumps(answer))


def _pictures(arguments: argparse.Namespace) -> list[bytes]:
    """What every camera sends, over and over."""
    if arguments.clip is None:
        return drawn(*arguments.size)
    return _frames(arguments.clip)


def _frames(file: Path) -> list[bytes]:
    """The first frames of a video. UndecodableError when it has none."""
    with Clip(file) as clip:
        clip.open()
        shots = [shot.jpeg for _ in range(PICTURES) if (shot := clip.shot()) is not None]
    if not shots:
        raise UndecodableError(f"{file.name} holds no frame that can be sent")
    return shots


def _finite(found: dict[str, float]) -> dict[str, float | None]:
    """The same as JSON can say it: endless is null."""
    return {name: value if isfinite(value) else None for name, value in found.items()}


def _words(found: Trial, *, is_held: bool) -> str:
    p99 = f"{found.latency_p99_s:.3f} s" if isfinite(found.latency_p99_s) else "endless"
    verdict = "held" if is_held else "not held"
    return f"{found.cameras} cameras: p99 {p99}, {found.answered} of {found.captured} frames answered: {verdict}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
