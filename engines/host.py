"""A process for one model: what loading it costs, and whatever its runtime may do, happens here and ends with it.

`python -m engines.host CONTROL PARENT`: an inherited socket and the process to die with. The job comes over the socket,
then one pair of descriptors for each lane; `engines.hosted` is the other side.
"""

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InternalError, ModelError, SightlineError
from app.core.ports import Engine, RawOutput
from app.vision.example import example_picture
from engines import telemetry
from engines.host_messages import MAX_BYTES, Failed, Job, Logged, Message, Ready, encode
from engines.in_place import InPlaceEngine
from engines.opening import open_engine
from engines.shared_lane import DONE, REQUEST, LaneMemory, LaneShape

LOG = logging.getLogger("sightline")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_LOG_CHARS: Final = 8_000
_MOST_KILLABLE: Final = "1000"
"""When the machine runs out of memory, the kernel ends the model's process, not the one that answers for it."""


def main(arguments: list[str], *, opener: Callable[..., Engine] = open_engine) -> None:
    """Open the model, say so, and serve lanes until the owner closes the control socket, or dies."""
    control_fd, parent = (int(argument) for argument in arguments)
    confine(parent)
    telemetry.switch_off()
    control = socket.socket(fileno=control_fd)
    job = Job.decode(control.recv(MAX_BYTES))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_LogForwarder(control)])
    if job.memory_bytes is not None:
        limit(resource.RLIMIT_AS, job.memory_bytes)
    try:
        engine = opener(
            job.path,
            kind=job.kind,
            streams=job.streams,
            threads_per_stream=job.threads_per_stream,
            max_batch=job.max_batch,
            sha256=job.sha256,
        )
        ready = _about(engine)
        _say(control, ready)
    except Exception as error:  # noqa: BLE001  whatever a runtime raises, the owner gets an error of ours
        _say(control, Failed.of(_typed(error, ModelError("the model cannot be opened; the log says why"))))
        os._exit(1)
    _serve(control, engine, ready, max_batch=job.max_batch)
    engine.close()
    os._exit(0)  # a runtime's own threads and destructors are none of our concern now


def _serve(control: socket.socket, engine: Engine, ready: Ready, *, max_batch: int) -> None:
    """Give every lane that comes a thread; return when the owner has hung up."""
    shape = LaneShape(
        max_batch=max_batch,
        height_px=ready.spec.input_height_px,
        width_px=ready.spec.input_width_px,
        row_shape=ready.row_shape,
    )
    while True:
        datagram, descriptors, _, _ = socket.recv_fds(control, MAX_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
        if not datagram:
            return
        memory_fd, bell_fd = descriptors
        memory = LaneMemory(memory_fd, shape)
        os.close(memory_fd)
        lane = (engine, memory, socket.socket(fileno=bell_fd))
        threading.Thread(target=_serve_lane, args=lane, daemon=True, name="lane").start()


def _serve_lane(engine: Engine, memory: LaneMemory, bell: socket.socket) -> None:
    """Compute what the owner puts into the memory, each time that it rings."""
    memory.canvases.flags.writeable = False
    while datagram := bell.recv(MAX_BYTES):
        count, slot = REQUEST.unpack(datagram)
        try:
            _compute(engine, list(memory.canvases[:count]), memory.rows[slot, :count])
            answer = DONE
        except Exception as error:  # noqa: BLE001  told to the caller, and in the log
            answer = encode(Failed.of(_typed(error, InternalError())))
        bell.send(answer)


def _compute(engine: Engine, pixels: Sequence[NDArray[np.uint8]], rows: RawOutput) -> None:
    """Fill the rows; ModelError when the engine's have another shape than at first."""
    if isinstance(engine, InPlaceEngine):
        engine.infer_into(pixels, rows)
        return
    found = engine.infer(pixels)
    if found.shape != rows.shape:
        raise ModelError("the model's rows have another shape than at first")
    rows[:] = found


def _about(engine: Engine) -> Ready:
    """What the owner has to know, one row of the example measured."""
    spec = engine.spec
    rows = engine.infer([example_picture(width_px=spec.input_width_px, height_px=spec.input_height_px)])
    runtime = type(engine).__module__.rpartition(".")[2].removesuffix("_engine")
    return Ready(spec=spec, streams=engine.streams, row_shape=rows.shape[1:], runtime=runtime)


def _typed(error: Exception, otherwise: SightlineError) -> SightlineError:
    """The error itself if it is ours; what another one says stays in the log."""
    if isinstance(error, SightlineError):
        return error
    if isinstance(error, MemoryError):
        LOG.error("the model's process may not take more memory", exc_info=error)
        return ModelError("the model needs more memory than it may take")
    LOG.error("the model's runtime failed", exc_info=error)
    return otherwise


def _say(control: socket.socket, message: Message) -> None:
    """Send it; ModelError when it is larger than the owner reads."""
    datagram = encode(message)
    if len(datagram) > MAX_BYTES:
        raise ModelError("the names of the model's classes are too long")
    control.send(datagram)


class _LogForwarder(logging.Handler):
    """Hands the log's lines to the owner, whose log has the right form and place; drops them when it is too slow."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line, without waiting."""
        message = encode(Logged(level=max(record.levelno, 1), text=self.format(record)[-_LOG_CHARS:]))
        with contextlib.suppress(OSError):
            self._control.send(message, socket.MSG_DONTWAIT)


def confine(parent: int) -> None:
    """Die with the owner, leave no core behind, gain nothing, and be the first to go when memory runs out."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's
    limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_MOST_KILLABLE, encoding="ascii")
    threading.excepthook = _end


def limit(kind: int, value: int) -> None:
    """Set a limit, as far as it is not lower already."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _end(_: threading.ExceptHookArgs) -> None:
    """A lane that failed would leave a process that answers nobody."""
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
