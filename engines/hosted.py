"""An engine in a process of its own: loading slows nobody down, a crash ends nobody else, and closing gives all back.

Source of the need: MISSION.md rows 34, 36, 42, 100 and 116. Pixels go through memory that both processes have mapped:
one copy in, made by the caller's thread, and none out, since the rows are lent where they lie. An engine that cannot
write there (`engines.in_place`) has its rows copied once, in its own process.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InternalError, ModelError, SightlineError, UnavailableError
from app.core.model import ModelSpec
from app.core.ports import RawOutput
from engines.host_messages import Job, Ready
from engines.host_process import HostProcess, wait_for
from engines.lanes import check_canvases, portions
from engines.opening import Kind
from engines.restarts import RestartLimits, Restarts

LOG = logging.getLogger("sightline")
_HOST: Final = "engines.host"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """How long a model may load, one call may take, and closing waits for calls that run; seconds.

    `memory_bytes` caps the address space: for CPU runtimes only, CUDA reserves far more than it uses. For `patience_s`
    at most the first process loads in the background (`engines.background`): for models that are loaded beside one that
    answers. One that is started again is waited for, and does not hang back.
    """

    load_s: float = 120.0
    call_s: float = 30.0
    close_s: float = 5.0
    patience_s: float = 0.0
    memory_bytes: int | None = None
    restarts: RestartLimits = field(default_factory=RestartLimits)


class HostedEngine:
    """An engine whose model lives in another process, which is started again when it dies or hangs.

    Calls that were in it get UnavailableError at once, calls until it is back too. After too many restarts it stays
    dead: then `is_broken`, and every call is a ModelError. `loaded` is done when the first process is ready, or failed;
    nothing else may be asked before.
    """

    def __init__(self, job: Job, *, limits: HostLimits, module: str = _HOST) -> None:
        self.loaded: Future[None] = Future()
        self._job = job
        self._limits = limits
        self._module = module
        self._ready: Ready | None = None
        self._process: HostProcess | None = None
        self._refusal: SightlineError = UnavailableError("the model is still loading")
        self._is_broken = False
        self._closing = threading.Event()
        self._closers = threading.Lock()
        self._n_restarts = 0
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        # One thread for the engine's whole life: a process would be killed together with the thread that started it.
        self._keeper = threading.Thread(target=self._keep, daemon=True, name="model-keeper")
        self._keeper.start()

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._loaded().spec

    @property
    def streams(self) -> int:
        """How many concurrent calls are computed at a time."""
        return self._loaded().streams

    @property
    def runtime(self) -> str:
        """What computes: `openvino`, `onnxruntime`, `reference` and so on."""
        return self._loaded().runtime

    @property
    def pid(self) -> int | None:
        """The process that holds the model; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    @property
    def n_restarts(self) -> int:
        """How often the process came back."""
        return self._n_restarts

    @property
    def is_broken(self) -> bool:
        """Whether the process died too often and is not started again."""
        return self._is_broken

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """Return one row per canvas, the caller's own; more than a full batch is computed in portions."""
        ready, process = self._loaded(), self._process
        check_canvases(pixels, ready.spec)
        if process is None:
            raise self._refused()
        if 0 < len(pixels) <= self._job.max_batch:
            return process.infer(pixels, call_s=self._limits.call_s)
        rows = np.empty((len(pixels), *ready.row_shape), np.float32)
        for start, portion in portions(pixels, self._job.max_batch):
            rows[start : start + len(portion)] = process.infer(portion, call_s=self._limits.call_s)
        return rows

    def close(self) -> None:
        """Let calls that run finish, end the process, and return when nothing is left of it; harmless when repeated."""
        with self._closers:
            if not self._closing.is_set():
                self._closing.set()
                os.eventfd_write(self._stop, 1)
                self._keeper.join()
                os.close(self._stop)

    def _loaded(self) -> Ready:
        if self._ready is None:
            raise self._refused()
        return self._ready

    def _refused(self) -> SightlineError:
        """A new error for each caller: one raised by several threads would collect all their tracebacks."""
        return type(self._refusal)(self._refusal.detail)

    def _keep(self) -> None:
        """Load, wait for the end, and again, until closed or broken."""
        restarts = Restarts(self._limits.restarts)
        while not self._closing.is_set():
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001  nothing may end this thread without a word to its callers
                if not self.loaded.done():
                    self._refusal = _typed(error)
                    self.loaded.set_exception(_typed(error))
                    return
                LOG.warning("a model's process cannot be started again: %s", error)
            if self._closing.is_set():
                return
            delay_s = restarts.delay_s(time.monotonic())
            if delay_s is None:
                self._give_up()
                return
            self._refusal = UnavailableError("the model's process is being restarted")
            self._pause(delay_s)

    def _serve(self) -> None:
        """Start a process and keep it until it dies, or is to be closed."""
        patience_s = self._limits.patience_s if self._ready is None else 0.0
        process = HostProcess(self._job, module=self._module, stop=self._stop, patience_s=patience_s)
        close_s = 0.0
        try:
            self._welcome(process.load(load_s=self._limits.load_s), process)
            process.await_end()
            close_s = self._limits.close_s if self._closing.is_set() else 0.0
        finally:
            self._refusal = UnavailableError(
                "the model was closed" if self._closing.is_set() else "the model's process died"
            )
            self._process = None
            process.end(close_s=close_s)
        if not self._closing.is_set():
            LOG.error("the process of model %s died: %s", self.spec.name, process.end_words)

    def _welcome(self, ready: Ready, process: HostProcess) -> None:
        """Let callers in; ModelError when the file holds another model than at first."""
        if self._ready is None:
            self._ready, self._process = ready, process
            self.loaded.set_result(None)
            return
        if (ready.spec, ready.row_shape) != (self._ready.spec, self._ready.row_shape):
            raise ModelError("the model file holds another model than when it was opened")
        self._n_restarts += 1
        self._process = process

    def _give_up(self) -> None:
        limits = self._limits.restarts
        words = f"the model's process died more than {limits.max_restarts} times within {limits.window_s:g} s"
        self._refusal = ModelError(words)
        self._is_broken = True
        LOG.error("model %s is given up: %s", self.spec.name, words)

    def _pause(self, delay_s: float) -> None:
        """Wait, or until closed."""
        wait_for([self._stop], until_s=time.monotonic() + delay_s)


class Opening(TypedDict, total=False):
    """What `engines.opening.open_engine` takes besides the model."""

    kind: Kind
    streams: int | None
    threads_per_stream: int
    max_batch: int
    sha256: str | None


def open_hosted_engine(
    model: Path | None, *, limits: HostLimits | None = None, module: str = _HOST, **opening: Unpack[Opening]
) -> HostedEngine:
    """Return a warm engine in a process of its own; `opening` is handed on to `open_engine`.

    A ModelError says what cannot be served; it is one, too, when loading crashes or takes longer than `limits.load_s`.
    """
    engine = _begin(model, limits=limits, module=module, **opening)
    try:
        engine.loaded.result()
    except BaseException:
        engine.close()
        raise
    return engine


async def open_hosted(
    model: Path | None, *, limits: HostLimits | None = None, module: str = _HOST, **opening: Unpack[Opening]
) -> HostedEngine:
    """Return the same without holding up the event loop; when the wait is cancelled, so is the loading."""
    engine = _begin(model, limits=limits, module=module, **opening)
    loaded = asyncio.wrap_future(engine.loaded)
    try:
        await asyncio.shield(loaded)
    except BaseException:
        await asyncio.to_thread(engine.close)
        loaded.add_done_callback(asyncio.Future.exception)  # who would have read it is gone
        raise
    return engine


def _begin(model: Path | None, *, limits: HostLimits | None, module: str, **opening: Unpack[Opening]) -> HostedEngine:
    """Return an engine that is loading."""
    limits = limits or HostLimits()
    job = Job(
        model=None if model is None else str(model.absolute()),
        kind=opening.get("kind", "auto"),
        streams=opening.get("streams"),
        threads_per_stream=opening.get("threads_per_stream", 1),
        max_batch=opening.get("max_batch", 8),
        sha256=opening.get("sha256"),
        memory_bytes=limits.memory_bytes,
    )
    return HostedEngine(job, limits=limits, module=module)


def _typed(error: Exception) -> SightlineError:
    """The error itself if it is ours; what it is otherwise stays in the log."""
    if isinstance(error, SightlineError):
        return error
    LOG.error("a model's process cannot be kept", exc_info=error)
    return InternalError()
