"""The stage that finds objects: an engine's streams, each fed by a thread of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from app.core.errors import InternalError, SightlineError
from app.core.frame import Detections, ModelInput
from app.core.outcome import Dropped, End, Failed, Outcome
from app.core.ports import Engine
from app.vision.postprocess import Thresholds, detections

LOG = logging.getLogger("sightline")
A = TypeVar("A")


class Detector:
    """Splits a batch over the engine's streams and reads the network's output back into source pixels.

    With several streams (a CPU) each frame goes alone to the next free stream, so that no core waits for the slowest
    part of a batch; with one stream (a GPU) the whole batch goes at once.
    """

    def __init__(self, engine: Engine, *, thresholds: Thresholds, max_batch: int = 8) -> None:
        self._engine = engine
        self._thresholds = thresholds
        self._max_batch = 1 if engine.streams > 1 else max_batch
        self._threads = ThreadPoolExecutor(engine.streams, thread_name_prefix="infer")

    @property
    def streams(self) -> int:
        """How many chunks are worked on at a time."""
        return self._engine.streams

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """One outcome per item, in order; drops and failures pass through."""
        return await self.detect_prepared(inputs, prepare=lambda item: item)

    async def detect_prepared(
        self, items: Sequence[Outcome[A]], *, prepare: Callable[[A], Outcome[ModelInput]]
    ) -> list[Outcome[Detections]]:
        """Detect on what `prepare` makes of each item, on the thread that then feeds the stream."""
        loop = asyncio.get_running_loop()
        present = [item for item in items if not isinstance(item, Dropped | Failed | End)]
        chunks = [present[i : i + self._max_batch] for i in range(0, len(present), self._max_batch)]
        queued_s = time.perf_counter()

        def work(chunk: list[A]) -> list[Outcome[Detections]]:
            start_s = time.perf_counter()
            return self._detect_chunk([prepare(item) for item in chunk], queue_s=start_s - queued_s)

        done = await asyncio.gather(*(loop.run_in_executor(self._threads, work, chunk) for chunk in chunks))
        found = iter([outcome for chunk in done for outcome in chunk])
        return [item if isinstance(item, Dropped | Failed | End) else next(found) for item in items]

    def _detect_chunk(self, chunk: list[Outcome[ModelInput]], *, queue_s: float) -> list[Outcome[Detections]]:
        inputs = [item for item in chunk if isinstance(item, ModelInput)]
        if not inputs:
            return [item for item in chunk if not isinstance(item, ModelInput)]
        start_s = time.perf_counter()
        try:
            raw = self._engine.infer([canvas for item in inputs for canvas in item.canvases])
        except SightlineError as error:
            return _each_failed(chunk, error)
        except Exception:
            LOG.exception("the engine failed on a batch of %d", len(inputs))
            return _each_failed(chunk, InternalError())
        inferred_s = time.perf_counter()
        outcomes: list[Outcome[Detections]] = []
        row = 0
        for item in chunk:
            if not isinstance(item, ModelInput):
                outcomes.append(item)
                continue
            found = detections(
                raw[row : row + len(item.canvases)], item, self._engine.spec, thresholds=self._thresholds
            )
            row += len(item.canvases)
            timings = replace(
                item.timings,
                queue_s=queue_s,
                inference_s=inferred_s - start_s,
                postprocess_s=time.perf_counter() - inferred_s,
            )
            outcomes.append(replace(found, timings=timings))
        return outcomes

    def close(self) -> None:
        """Finish what runs and give the engine's memory back."""
        self._threads.shutdown()
        self._engine.close()


def _each_failed(chunk: list[Outcome[ModelInput]], error: SightlineError) -> list[Outcome[Detections]]:
    return [Failed(ref=item.ref, error=error) if isinstance(item, ModelInput) else item for item in chunk]
