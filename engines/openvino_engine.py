"""Runs a model with OpenVINO on the CPU: the faster runtime where the CPU multiplies bfloat16 matrices.

One picture at a time per stream of one thread: 90 pictures/s, against 72 as one stream of two threads and 72 in
batches of eight (YOLOv8n-shaped, 640 px, two cores with AMX, 2026-11-23, `python -m engines`).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines import telemetry
from engines.lanes import Lanes, check_canvases, portions
from engines.model_file import ModelFile

telemetry.switch_off()

import openvino as ov  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

LOG = logging.getLogger("sightline")


class _Lane:
    """One infer request with the input that it reads."""

    def __init__(self, compiled: Any) -> None:
        self.request = compiled.create_infer_request()
        self.pixels = np.zeros(tuple(compiled.input(0).shape), dtype=np.uint8)
        self.request.set_input_tensor(ov.Tensor(self.pixels, shared_memory=True))


class OpenVinoEngine:
    """One model compiled for the CPU; scaling, channel order and layout are part of the compiled graph.

    Products are made in bfloat16 where the CPU has AMX, in float32 elsewhere, or always with `is_exact`.
    """

    def __init__(self, file: ModelFile, *, streams: int, threads_per_stream: int = 1, is_exact: bool = False) -> None:
        self._spec = file.spec
        self._batch = file.static_batch or 1
        self._lanes: Lanes[_Lane]
        try:
            compiled = _compile(file, streams=streams, threads=streams * threads_per_stream, is_exact=is_exact)
            self._row_shape = tuple(compiled.output(0).shape)[1:]
            self._lanes = Lanes(lambda: _Lane(compiled), count=streams)
        except RuntimeError as error:
            LOG.warning("openvino cannot take the model", exc_info=error)
            raise ModelError("openvino cannot run this model; the log says why") from None

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
        except RuntimeError as error:
            LOG.warning("openvino failed on a batch of %d", len(pixels), exc_info=error)
            raise ModelError("the model failed on this picture") from None

    def _infer_portion(self, lane: _Lane, portion: Sequence[NDArray[np.uint8]], rows: RawOutput) -> None:
        """Fill `rows`; a portion smaller than a static batch leaves old pictures in the places behind it."""
        for place, canvas in zip(lane.pixels, portion, strict=False):
            np.copyto(place, canvas)
        is_whole = len(portion) == self._batch
        target = rows if is_whole else np.empty((self._batch, *self._row_shape), np.float32)
        lane.request.set_output_tensor(ov.Tensor(target, shared_memory=True))
        lane.request.infer()
        if not is_whole:
            rows[:] = target[: len(portion)]

    def close(self) -> None:
        """Give the memory back."""
        self._lanes.close()


def has_fast_bfloat16() -> bool:
    """Return whether this CPU has AMX tiles for bfloat16; without them the shorter numbers gain nothing."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as info:
            return any("amx_bf16" in line for line in info if line.startswith("flags"))
    except OSError:
        return False


def _compile(file: ModelFile, *, streams: int, threads: int, is_exact: bool) -> Any:
    """Return the model compiled for bytes `(B, H, W, 3)` RGB, with fixed shapes: free ones cost 6 % here."""
    core = ov.Core()
    model = core.read_model(file.data)
    spec = file.spec
    model = _with_one_output(model, file.output_name)
    model.reshape([file.static_batch or 1, 3, spec.input_height_px, spec.input_width_px])
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    feeding = steps.input().preprocess()
    if spec.channel_order == "bgr":
        feeding = feeding.reverse_channels()
    feeding.convert_element_type(ov.Type.f32).scale(1 / spec.scale)
    steps.output().tensor().set_element_type(ov.Type.f32)
    precision = "bf16" if has_fast_bfloat16() and not is_exact else "f32"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # Ray's other processes share the cores
    }
    compiled = core.compile_model(steps.build(), "CPU", options)
    if compiled.output(0).get_partial_shape().is_dynamic:
        raise ModelError("the size of this model's output depends on the picture; export it with a fixed one")
    return compiled


def _with_one_output(model: Any, name: str) -> Any:
    """Return the model with the boxes as its only output."""
    if len(model.outputs) == 1:
        return model
    return ov.Model([model.output(name)], model.get_parameters())
