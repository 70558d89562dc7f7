"""The stage that finds objects: an engine's streams, each fed by a thread of its own."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.core.errors import InternalError, SightlineError
from app.core.frame import Detections, ModelInput
from app.core.outcome import Failed, Outcome
from app.core.ports import Engine
from app.vision.postprocess import Thresholds, detections

LOG = logging.getLogger("sightline")


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

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """One outcome per item, in order; drops and failures pass through."""
        loop = asyncio.get_running_loop()
        present = [item for item in inputs if isinstance(item, ModelInput)]
        chunks = [present[i : i + self._max_batch] for i in range(0, len(present), self._max_batch)]
        queued_s = time.perf_counter()
        done = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._detect_chunk, chunk, queued_s) for chunk in chunks)
        )
        found = iter([outcome for chunk in done for outcome in chunk])
        return [next(found) if isinstance(item, ModelInput) else item for item in inputs]

    def _detect_chunk(self, chunk: list[ModelInput], queued_s: float) -> list[Outcome[Detections]]:
        start_s = time.perf_counter()
        try:
            raw = self._engine.infer([canvas for item in chunk for canvas in item.canvases])
        except SightlineError as error:
            return [Failed(ref=item.ref, error=error) for item in chunk]
        except Exception:
            LOG.exception("the engine failed on a batch of %d", len(chunk))
            return [Failed(ref=item.ref, error=InternalError()) for item in chunk]
        inferred_s = time.perf_counter()
        outcomes: list[Outcome[Detections]] = []
        row = 0
        for item in chunk:
            found = detections(
                raw[row : row + len(item.canvases)], item, self._engine.spec, thresholds=self._thresholds
            )
            row += len(item.canvases)
            timings = replace(
                item.timings,
                queue_s=start_s - queued_s,
                inference_s=inferred_s - start_s,
                postprocess_s=time.perf_counter() - inferred_s,
            )
            outcomes.append(replace(found, timings=timings))
        return outcomes

    def close(self) -> None:
        """Finish what runs and give the engine's memory back."""
        self._threads.shutdown()
        self._engine.close()
