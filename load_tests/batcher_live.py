"""The live half of the scenario `batcher`: one lane over a real engine on this CPU, with batches of up to 8 and of 1.

Twice: the bundled model, which ONNX Runtime computes picture by picture, so that a batch saves only what surrounds
them; and a small network exported for batches of 8, which costs the same whether its places are filled or not.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
import onnx

from app.core.frame import FrameRef, Letterbox, ModelInput
from app.core.model import Head
from app.core.outcome import Failed
from app.core.ports import Engine
from app.pipeline.serving import Serving, ServingParameters
from app.settings import Settings
from engines.opening import open_engine
from engines.tiny_yolo import tiny_yolo
from load_tests.efficiency import say

ROUNDS, TURN_S, SHARE = 5, 3.0, 0.8
BATCH, CALLERS = 8, 32


class Side:
    """One way to serve the engine."""

    def __init__(self, engine: Engine, *, max_batch: int) -> None:
        self.serving = Serving(engine, parameters=ServingParameters(max_batch=max_batch, slo_s=10.0))
        self.per_s: list[float] = []
        self.p99_s: list[float] = []

    async def capacity(self) -> float:
        """Pictures per second with as many callers as are always waiting."""
        end_s, done = time.monotonic() + TURN_S, 0

        async def call() -> None:
            nonlocal done
            while time.monotonic() < end_s:
                await self._ask()
                done += 1

        await asyncio.gather(*(call() for _ in range(CALLERS)))
        return done / TURN_S

    async def latency_p99_s(self, *, rate_hz: float, chance: Random) -> float:
        """Of pictures that come at random at that rate, from when each was due."""
        taken_s: list[float] = []

        async def one(due_s: float) -> None:
            await self._ask()
            taken_s.append(time.monotonic() - due_s)

        due_s, end_s = time.monotonic(), time.monotonic() + TURN_S
        async with asyncio.TaskGroup() as asked:
            while (due_s := due_s + chance.expovariate(rate_hz)) < end_s:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                asked.create_task(one(due_s))
        return statistics.quantiles(taken_s, n=100)[98]

    async def _ask(self) -> None:
        (found,) = await self.serving.detect([_picture(self.serving)], prepare=lambda item: item)
        if isinstance(found, Failed):
            raise found.error


def live() -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details: capacity with batches over that without, and p99 over p99 at the same offered load."""
    figures: dict[str, float] = {}
    details: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        eight = Path(folder) / "eight.onnx"
        onnx.save(tiny_yolo(Head.YOLOV8, size_px=256, batch=BATCH), eight)
        for name, model in (("", Settings().model.file), ("_static_8", eight)):
            engine = open_engine(model, kind="onnxruntime", streams=1)
            ratio, p99_ratio, sides = asyncio.run(_measured(engine, name=name))
            figures |= {f"batching_ratio{name}": ratio, f"batching_p99_ratio{name}": p99_ratio}
            details[f"live{name}"] = sides
    return figures, details


async def _measured(engine: Engine, *, name: str) -> tuple[float, float, dict[str, object]]:
    """The two ratios, medians over rounds in which the sides take turns."""
    batched, single = Side(engine, max_batch=BATCH), Side(engine, max_batch=1)
    chance = Random(1)
    for index in range(ROUNDS):
        say(f"batcher: live{name}, round {index + 1} of {ROUNDS}")
        for side in (batched, single)[:: 1 if index % 2 else -1]:
            side.per_s.append(await side.capacity())
        rate_hz = SHARE * min(single.per_s[-1], batched.per_s[-1])
        for side in (batched, single)[:: 1 if index % 2 else -1]:
            side.p99_s.append(await side.latency_p99_s(rate_hz=rate_hz, chance=chance))
    single.serving.close()  # and with it the engine
    ratios = [mine / theirs for mine, theirs in zip(batched.per_s, single.per_s, strict=True)]
    p99_ratios = [mine / theirs for mine, theirs in zip(batched.p99_s, single.p99_s, strict=True)]
    sides = {"batched": [batched.per_s, batched.p99_s], "single": [single.per_s, single.p99_s]}
    return statistics.median(ratios), statistics.median(p99_ratios), {"per_s_and_p99_s": sides}


def _picture(serving: Serving) -> ModelInput:
    spec = serving.spec
    width_px, height_px = spec.input_width_px, spec.input_height_px
    letterbox = Letterbox(scale_x=1, scale_y=1, pad_x_px=0, pad_y_px=0, width_px=width_px, height_px=height_px)
    return ModelInput(
        canvases=(np.zeros((height_px, width_px, 3), np.uint8),),
        letterboxes=(letterbox,),
        source_width_px=width_px,
        source_height_px=height_px,
        ref=FrameRef(stream_id="s", seq=0),
    )
