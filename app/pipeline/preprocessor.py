"""The stage that puts pictures on the model's canvas."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2

from app.core import metrics as table
from app.core.errors import InternalError, SightlineError
from app.core.frame import Frame, ModelInput
from app.core.metrics import SILENT, Metrics
from app.core.model import ModelSpec
from app.core.outcome import Failed, Outcome
from app.vision.letterbox import fit
from app.vision.steps import Step, run_steps

LOG = logging.getLogger("sightline")


class Preprocessor:
    """Runs the declared steps, then the letterbox, on a worker thread; a picture that fails, fails alone."""

    def __init__(self, spec: ModelSpec, *, steps: Sequence[Step] = (), metrics: Metrics = SILENT) -> None:
        cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would fight them for the cores
        self._width_px = spec.input_width_px
        self._height_px = spec.input_height_px
        self._steps = tuple(steps)
        self._metrics = metrics

    async def fit(self, frames: Sequence[Outcome[Frame]]) -> list[Outcome[ModelInput]]:
        """One outcome per item, in order; drops and failures pass through."""
        return await asyncio.to_thread(lambda: [self.fit_one(frame) for frame in frames])

    def fit_one(self, frame: Outcome[Frame]) -> Outcome[ModelInput]:
        """The same for one item, on the calling thread."""
        if not isinstance(frame, Frame):
            return frame
        start_s = time.perf_counter()
        try:
            stepped = run_steps(frame, self._steps)
            route = frame.route
            width_px, height_px = (route.width_px, route.height_px) if route else (self._width_px, self._height_px)
            fitted = fit(stepped, width_px=width_px, height_px=height_px)
        except SightlineError as error:
            return Failed(ref=frame.ref, error=error)
        except Exception:
            LOG.exception("the preprocessor failed on a frame")
            return Failed(ref=frame.ref, error=InternalError())
        spent_s = time.perf_counter() - start_s
        self._metrics.observe(table.PREPROCESSOR_SECONDS, value=spent_s)
        self._metrics.count(table.PREPROCESSOR_COPIED, by=sum(canvas.nbytes for canvas in fitted.canvases))
        return replace(fitted, timings=replace(frame.timings, preprocess_s=spent_s))
