"""The owner's side of one model process: started, waited for, called, and outlived."""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, SightlineError, UnavailableError
from app.core.ports import RawOutput
from engines import background
from engines.host_messages import MAX_BYTES, Failed, Job, Logged, Ready, decode
from engines.shared_lane import Lane, LaneShape

LOG = logging.getLogger("sightline")
_ROOT: Final = Path(__file__).resolve().parents[1]
_LEAST_S: Final = 1.0
_PROGRESS_S: Final = 10.0
"""How often the log says that a model is still loading."""
_INHERITED: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
_INHERITED_PREFIXES: Final = ("CUDA_", "NVIDIA_", "TRT_", "ORT_", "OV_", "OMP_", "KMP_", "MALLOC_")
"""What runtimes are tuned by, and which devices they may see. Tokens and passwords stay with the owner."""


class _Event(Enum):
    OVER = auto()  # the process is gone, or said what it cannot have meant
    STOPPED = auto()  # the owner wants no more of it
    LATE = auto()


class HostProcess:
    """One model process. The kernel kills it when the thread that made this object ends: that one must outlive it.

    `infer` is for any thread, everything else for the one that made it. `stop` is an eventfd that ends every wait.
    For `patience_s` seconds at most it loads in the background.
    """

    def __init__(self, job: Job, *, module: str, stop: int, patience_s: float = 0.0) -> None:
        self._job = job
        self._stop = stop
        self._patience_s = patience_s
        self._lanes: list[Lane] = []
        self._free: SimpleQueue[Lane] = SimpleQueue()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._control.send(job.encode())
            self._process = _spawn(module, theirs.fileno())
            self._pidfd = os.pidfd_open(self._process.pid)  # until it is waited for, nobody else can have this id
            if patience_s > 0:
                background.send_back(self.pid)
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def end_words(self) -> str:
        """How it ended, for people; only once it has."""
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"

    def load(self, *, load_s: float) -> Ready:
        """What it has opened, once every lane has answered; ModelError when it fails or takes too long.

        UnavailableError when the wait is ended from outside.
        """
        begun_s = time.monotonic()
        ready = self._await_ready(load_s)
        spec = ready.spec
        try:
            for lane in self._open_lanes(ready):
                lane.warm(timeout_s=max(begun_s + load_s - time.monotonic(), _LEAST_S))
            self._call_back()
        except (OSError, ValueError) as error:
            LOG.warning("no lane to the model's process %d", self.pid, exc_info=error)
            raise ModelError("the model was loaded, and then its process died or could not be reached") from None
        seconds = time.monotonic() - begun_s
        told = (spec.name, spec.version, ready.runtime, seconds, self.pid)
        LOG.info("model %s %s is ready on %s after %.1f s, process %d", *told)
        return ready

    def infer(self, canvases: Sequence[NDArray[np.uint8]], *, call_s: float) -> RawOutput:
        """The rows of at most a full batch; UnavailableError when it died with them, or took too long and is killed."""
        lane = self._free.get()
        try:
            return lane.infer(canvases, timeout_s=call_s)
        except SightlineError:
            raise
        except TimeoutError:
            LOG.error("the model's process %d gave no answer in %.1f s and is killed", self.pid, call_s)  # noqa: TRY400
            self.kill()
            raise UnavailableError("the model took too long and is being restarted") from None
        except (OSError, ValueError):
            self.kill()  # it is dying, or has gone mad
            raise UnavailableError("the model's process ended with this picture in it") from None
        except BaseException:
            self.kill()  # nobody will fetch the answer
            raise
        finally:
            self._free.put(lane)

    def await_end(self) -> None:
        """Return when it is gone, or when the wait is ended from outside; its log lines are passed on meanwhile."""
        event = self._next(None)
        if not isinstance(event, _Event):
            LOG.error("the model's process %d spoke out of turn", self.pid)

    def kill(self) -> None:
        """End it, whatever it is at: every call in it fails at once."""
        self._process.kill()

    def end(self, *, close_s: float) -> None:
        """Let calls finish and the process close its engine, kill it after `close_s`; return when nothing is left."""
        self._call_back()  # in the background even a process that is killed takes its time
        due_s = time.monotonic() + close_s
        lanes = self._take_lanes(until_s=due_s)
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        wait_for([self._pidfd], until_s=due_s)
        self._process.kill()
        self._process.wait()
        self._read_log_out()
        for lane in self._lanes:
            lane.hang_up()
        while len(lanes) < len(self._lanes):
            lanes.append(self._free.get())
        for lane in lanes:
            lane.close()
            self._free.put(lane)  # for callers who still wait for one: it fails them at once
        self._control.close()
        os.close(self._pidfd)

    def _open_lanes(self, ready: Ready) -> Iterator[Lane]:
        """One lane a stream, each with the process at its other end."""
        shape = LaneShape(
            max_batch=self._job.max_batch,
            height_px=ready.spec.input_height_px,
            width_px=ready.spec.input_width_px,
            row_shape=ready.row_shape,
        )
        for _ in range(ready.streams):
            lane = Lane(shape)
            self._lanes.append(lane)
            self._free.put(lane)
            lane.hand_over(self._control)
            yield lane

    def _take_lanes(self, *, until_s: float) -> list[Lane]:
        """Those that come free by then."""
        lanes: list[Lane] = []
        with contextlib.suppress(Empty):
            while len(lanes) < len(self._lanes):
                lanes.append(self._free.get(timeout=max(until_s - time.monotonic(), 0.0)))
        return lanes

    def _call_back(self) -> None:
        if self._patience_s > 0:
            self._patience_s = 0.0
            background.call_back(self.pid)

    def _await_ready(self, load_s: float) -> Ready:
        begun_s = time.monotonic()
        due_s = begun_s + load_s
        while True:
            patient_s = begun_s + self._patience_s if self._patience_s > 0 else due_s
            news = self._next(min(due_s, patient_s, time.monotonic() + _PROGRESS_S))
            match news:
                case Ready():
                    return news
                case Failed():
                    raise news.error
                case _Event.STOPPED:
                    raise UnavailableError("the model was closed before it was loaded")
                case _Event.OVER:
                    self._call_back()
                    self._process.kill()
                    self._process.wait()
                    raise ModelError(f"the process that loaded the model ended: {self.end_words}")
            seconds = time.monotonic() - begun_s
            if seconds >= self._patience_s:
                self._call_back()  # the cores are never free
            if seconds >= load_s:
                raise ModelError(f"the model took longer than {load_s:g} s to load")
            LOG.info("a model is loading since %.0f s, process %d", seconds, self.pid)

    def _next(self, until_s: float | None) -> Ready | Failed | _Event:
        """What comes next, besides lines for the log."""
        while True:
            ready = wait_for([self._stop, self._control.fileno(), self._pidfd], until_s=until_s)
            if self._stop in ready:
                return _Event.STOPPED
            if self._control.fileno() in ready:
                try:
                    message = decode(self._control.recv(MAX_BYTES))
                except (OSError, ValueError):
                    return _Event.OVER
                if not isinstance(message, Logged):
                    return message
                self._log(message)
            elif ready:
                return _Event.OVER
            if until_s is not None and time.monotonic() >= until_s:
                return _Event.LATE

    def _read_log_out(self) -> None:
        """Pass on the lines that nobody has read when the wait was ended: often those that say why."""
        with contextlib.suppress(OSError, ValueError):
            while datagram := self._control.recv(MAX_BYTES, socket.MSG_DONTWAIT):
                message = decode(datagram)
                if isinstance(message, Logged):
                    self._log(message)

    def _log(self, line: Logged) -> None:
        LOG.log(line.level, "model process %d: %s", self.pid, line.text)


def wait_for(descriptors: Sequence[int], *, until_s: float | None) -> set[int]:
    """Which of them can be read, or have hung up, by then; not `select`, which knows descriptors below 1024 only."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left_ms = None if until_s is None else max(until_s - time.monotonic(), 0.0) * 1000
    return {descriptor for descriptor, _ in poll.poll(left_ms)}


def _spawn(module: str, control: int) -> subprocess.Popen[bytes]:
    """Started with one descriptor and an environment without secrets, in a session of its own."""
    environment = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    } | {
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in a runtime leaves the stacks in our log
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", module, str(control), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=2,  # what a runtime prints belongs to the log
        env=environment,
        cwd="/",
        pass_fds=(control,),
        start_new_session=True,
    )
