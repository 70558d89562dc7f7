"""Runs one part of a cut model: named tensors in, named tensors out."""

import logging
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from engines import telemetry
from engines.parts import Part

telemetry.switch_off()

import onnxruntime as ort  # noqa: E402

LOG = logging.getLogger("sightline")
_FATAL = 4  # onnxruntime's log levels; everything it could say also comes as an exception
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
Tensors: TypeAlias = Mapping[str, NDArray[Any]]


class SubModel:
    """One part in one ONNX Runtime session, on the first GPU that this process sees, else on `threads` CPU threads.

    `vram_bytes` is the most that its arena may take of a GPU that it shares with others. Tensors arrive and leave in
    host memory: what goes on to another GPU has to cross it anyway, and the two may be on two machines.
    """

    def __init__(self, data: bytes, part: Part, *, threads: int = 1, vram_bytes: int | None = None) -> None:
        self._part = part
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
        try:
            self._session = ort.InferenceSession(data, options, providers=_providers(vram_bytes))
        except Exception as error:
            LOG.warning("onnxruntime cannot take %s", part.file, exc_info=error)
            raise ModelError(f"onnxruntime cannot run {part.file}; the log says why") from None
        LOG.info("%s runs on %s", part.file, self.provider)

    @property
    def provider(self) -> str:
        """What ONNX Runtime computes it with."""
        return str(self._session.get_providers()[0])

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Return what this part gives and what passes it by on its way to later parts; tensors not named are dropped.

        ModelError when a tensor is missing or the runtime fails.
        """
        missing = [name for name in (*self._part.takes, *self._part.carries) if name not in tensors]
        if missing:
            raise ModelError(f"{self._part.file} was not given {', '.join(missing)}")
        try:
            given = self._session.run(list(self._part.gives), {name: tensors[name] for name in self._part.takes})
        except Exception as error:
            LOG.warning("onnxruntime failed in %s", self._part.file, exc_info=error)
            raise ModelError("the model failed on this picture") from None
        carried = {name: np.asarray(tensors[name]) for name in self._part.carries}
        return carried | dict(zip(self._part.gives, given, strict=True))


def _providers(vram_bytes: int | None) -> list[str | tuple[str, dict[str, str]]]:
    """Return what to compute with, in order of preference."""
    if _CUDA not in ort.get_available_providers() or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return [_CPU]
    limit = {} if vram_bytes is None else {"gpu_mem_limit": str(vram_bytes)}
    return [(_CUDA, {"device_id": "0", **limit}), _CPU]
