"""Runs a model with ONNX Runtime on the CPU: takes every operator, and is the yardstick for the other engines.

One picture at a time per caller on one thread: 29 pictures/s, against 23 on two threads and 24 in batches of eight
(YOLOv8n-shaped, 640 px, two cores, 2026-11-23, `python -m engines`). Scaling in numpy costs 0.4 ms of 68; as
nodes before the network it costs as much.
"""

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines import telemetry
from engines.lanes import Lanes, check_canvases, portions
from engines.model_file import ModelFile

telemetry.switch_off()

import onnxruntime as ort  # noqa: E402

LOG = logging.getLogger("sightline")
_FATAL = 4  # onnxruntime's log levels; everything it could say also comes as an exception


class _Lane:
    """The buffers of one caller: the network's input, and one picture's colour planes."""

    def __init__(self, spec: ModelSpec, *, batch: int) -> None:
        height_px, width_px = spec.input_height_px, spec.input_width_px
        self.planes = np.empty((3, height_px, width_px), np.uint8)
        self.pixels = np.zeros((batch, 3, height_px, width_px), np.float32)


class OnnxRuntimeEngine:
    """One session; each concurrent call computes on `threads_per_stream` threads, its caller's own among them."""

    def __init__(self, file: ModelFile, *, streams: int, threads_per_stream: int = 1) -> None:
        self._spec = file.spec
        self._batch = file.static_batch or 1
        self._names = (file.input_name, file.output_name)
        self._scale = np.float32(file.spec.scale)
        self._planes = (0, 1, 2) if file.spec.channel_order == "rgb" else (2, 1, 0)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads_per_stream
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
        try:
            self._session = ort.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
            self._lanes = Lanes(lambda: _Lane(file.spec, batch=self._batch), count=streams)
            self._row_shape = self._probe_row_shape()
        except Exception as error:
            LOG.warning("onnxruntime cannot take the model", exc_info=error)
            raise ModelError("onnxruntime cannot run this model; the log says why") from None

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def streams(self) -> int:
        """How many concurrent calls are computed at a time."""
        return self._lanes.count

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas, written by the runtime straight into the answer."""
        rows = np.empty((len(pixels), *self._row_shape), np.float32)
        self.infer_into(pixels, rows)
        return rows

    def infer_into(self, pixels: Sequence[NDArray[np.uint8]], rows: RawOutput) -> None:
        """Fill `rows`, one per canvas, written there by the runtime itself."""
        check_canvases(pixels, self._spec)
        try:
            with self._lanes.borrow() as lane:
                for start, portion in portions(pixels, self._batch):
                    self._infer_portion(lane, portion, rows[start : start + len(portion)])
        except Exception as error:
            LOG.warning("onnxruntime failed on a batch of %d", len(pixels), exc_info=error)
            raise ModelError("the model failed on this picture") from None

    def _infer_portion(self, lane: _Lane, portion: Sequence[NDArray[np.uint8]], rows: RawOutput) -> None:
        """Fill `rows`; a portion smaller than a static batch leaves old pictures in the places behind it."""
        for place, canvas in zip(lane.pixels, portion, strict=False):
            cv2.split(canvas, list(lane.planes))
            for channel, plane in enumerate(self._planes):
                np.multiply(lane.planes[plane], self._scale, out=place[channel])
        is_whole = len(portion) == self._batch
        target = rows if is_whole else np.empty((self._batch, *self._row_shape), np.float32)
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._names[0], lane.pixels)
        binding.bind_output(self._names[1], "cpu", 0, np.float32, target.shape, target.ctypes.data)
        self._session.run_with_iobinding(binding)
        if not is_whole:
            rows[:] = target[: len(portion)]

    def _probe_row_shape(self) -> tuple[int, ...]:
        """Return the output's shape for one picture, by running a black one."""
        with self._lanes.borrow() as lane:
            (output,) = self._session.run([self._names[1]], {self._names[0]: lane.pixels})
        return tuple(output.shape[1:])

    def close(self) -> None:
        """Give the memory back."""
        self._lanes.close()
        del self._session
