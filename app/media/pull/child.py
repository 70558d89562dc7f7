"""The decoder process: one source, read and decoded here, so that what it does to FFmpeg is done to nobody else.

`python -m app.media.pull.child CONTROL RING PARENT`: two inherited descriptors and the process to die with. The job,
and the password in it, come over the control socket.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import Final

from app.media.pull.handover import Handover
from app.media.pull.messages import CONNECT, MAX_BYTES, Alive, Broken, Job, NotOpened, Opened, encode
from app.media.pull.reach import SourceFailedError
from app.media.pull.reading import Reading
from app.media.pull.ring import FrameRing
from app.media.pull.source_input import SourceInput

ALIVE_EVERY_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_MAX_FILES: Final = 64


def main(arguments: list[str]) -> None:
    """Serve the owner until it closes the control socket, or dies."""
    control_fd, ring_fd, parent = (int(argument) for argument in arguments)
    confine(parent)
    control = socket.socket(fileno=control_fd)
    job = Job.decode(control.recv(MAX_BYTES))
    ring = FrameRing(ring_fd, slot_bytes=job.slot_bytes)
    limit(resource.RLIMIT_AS, job.parameters.memory_bytes)
    limit(resource.RLIMIT_FSIZE, ring.file_bytes)
    decoder = Decoder(job, control, ring)
    while True:
        ready, _, _ = select.select([control], [], [], ALIVE_EVERY_S)
        if not ready:
            control.send(encode(Alive(busy_s=decoder.busy_s)))
            continue
        command = control.recv(MAX_BYTES)
        if command == CONNECT:
            threading.Thread(target=decoder.connect, daemon=True).start()
        elif command:
            decoder.handover.free(int(command))
        else:
            os._exit(0)  # threads may hang in FFmpeg; there is nothing to save


class Decoder:
    """Makes the connections that its owner asks for, one at a time."""

    def __init__(self, job: Job, control: socket.socket, ring: FrameRing) -> None:
        self.handover = Handover(
            control,
            ring,
            depth=job.parameters.ring_frames,
            is_patient=job.source.is_file and not job.parameters.pace,
        )
        self._job = job
        self._control = control
        self._ring = ring
        self._taken_in = 0
        self._counting = threading.Lock()
        self._reading: Reading | None = None

    @property
    def busy_s(self) -> float:
        """For how long the decoder has been at what it is at; 0 while it waits for its source."""
        return 0.0 if self._reading is None else self._reading.busy_s

    def connect(self) -> None:
        """Connect, read to the end, and tell how it went."""
        try:
            source = SourceInput(self._job.source, parameters=self._job.parameters, limits=self._job.limits)
        except SourceFailedError as error:
            self.handover.finish(NotOpened(reason=error.reason))
            return
        self._control.send(encode(Opened(announced_s=source.announced_s)))
        try:
            self._reading = Reading(self._job, source, handover=self.handover, count=self._count)
            reason = self._reading.run()
        finally:
            self._reading = None
            source.close()
        self.handover.finish(Broken(reason=reason))

    def _count(self) -> int:
        with self._counting:
            self._taken_in += 1
            self._ring.taken_in = self._taken_in
            return self._taken_in


def confine(parent: int) -> None:
    """Die with the owner, leave no core behind, gain nothing."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    threading.excepthook = _end


def limit(kind: int, value: int) -> None:
    """Set a limit, as far as it is not lower already."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _end(_: threading.ExceptHookArgs) -> None:
    """A thread that failed would leave a process that says it is alive."""
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
