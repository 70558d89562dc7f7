"""Runs a model with ONNX Runtime on a GPU: what serves while there is no TensorRT plan.

The same graph of bytes that TensorRT gets. No figure of it is measured: no machine of the project had the provider.
"""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, UnavailableError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines import telemetry
from engines.byte_input import INPUT_NAME, with_byte_input
from engines.lanes import check_canvases, portions
from engines.model_file import ModelFile

telemetry.switch_off()

import onnxruntime as ort  # noqa: E402

LOG = logging.getLogger("sightline")
CUDA = "CUDAExecutionProvider"
_MAX_BATCH = 8
_FATAL = 4  # onnxruntime's log levels; everything it could say also comes as an exception


class OnnxRuntimeCudaEngine:
    """One session on one GPU; whole batches, one after the other. UnavailableError where this build has no CUDA.

    `provider` is what computes: in tests the CPU, over the same graph and the same code.
    """

    def __init__(self, file: ModelFile, *, provider: str = CUDA) -> None:
        if provider not in ort.get_available_providers():
            raise UnavailableError("this build of onnxruntime does not compute on GPUs")
        self._spec = file.spec
        self._output_name = file.output_name
        self._batch = file.static_batch
        self._one_at_a_time = threading.Lock()
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL
        try:
            self._session = ort.InferenceSession(with_byte_input(file), options, providers=[provider])
        except Exception as error:
            LOG.warning("onnxruntime cannot take the model on the GPU", exc_info=error)
            raise ModelError("onnxruntime cannot run this model on the GPU; the log says why") from None
        if self._session.get_providers()[0] != provider:  # it goes on with the CPU where the GPU fails, without a word
            raise UnavailableError("onnxruntime cannot use this GPU")

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def streams(self) -> int:
        """One: the device wants whole batches."""
        return 1

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas; a portion smaller than a static batch is padded with black ones."""
        check_canvases(pixels, self._spec)
        rows = [self._run(portion) for _, portion in portions(pixels, self._batch or _MAX_BATCH)]
        return np.concatenate(rows)

    def _run(self, portion: Sequence[NDArray[np.uint8]]) -> RawOutput:
        canvases = np.zeros((self._batch or len(portion), *portion[0].shape), np.uint8)
        np.stack(portion, out=canvases[: len(portion)])
        try:
            with self._one_at_a_time:
                (output,) = self._session.run([self._output_name], {INPUT_NAME: canvases})
        except Exception as error:
            LOG.warning("onnxruntime failed on a batch of %d on the GPU", len(portion), exc_info=error)
            raise ModelError("the model failed on this picture") from None
        rows: RawOutput = np.asarray(output, np.float32)[: len(portion)]
        return rows

    def close(self) -> None:
        """Give the memory back."""
        del self._session
