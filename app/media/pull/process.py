"""The owner's side of a decoder process: started, spoken to and outlived, on one event loop."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from app.core.frame import Pixels
from app.media.pull.messages import (
    CONNECT,
    MAX_BYTES,
    MAX_COUNT,
    Alive,
    Broken,
    Filled,
    Job,
    Message,
    NotOpened,
    Opened,
    Shed,
    decode,
)
from app.media.pull.ring import FrameRing

_ROOT: Final = Path(__file__).resolve().parents[3]
_BATCH: Final = 16
"""Messages read before other work on the loop gets its turn."""

_LAST_BATCHES: Final = 4
"""What a process may have said before it died; a socket holds fewer messages."""


@dataclass(frozen=True, slots=True)
class Died:
    """The process is gone, or said what it cannot have meant; `missing` frames that it had taken in went with it."""

    missing: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame out of the ring."""

    frame: Filled
    rgb: Pixels


News: TypeAlias = Opened | NotOpened | Broken | Shed | Picture | Alive | Died


class DecoderProcess:
    """One decoder process. `tell` gets what it says, in order; nothing after `Died` or `kill`.

    All calls happen on the event loop of the thread that made it, which must outlive it: the kernel kills the process
    when that thread ends.
    """

    def __init__(self, job: Job, tell: Callable[[News], None], *, module: str = "app.media.pull.child") -> None:
        self.connections = 0
        self._tell = tell
        self._accounted = 0
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._is_over = False
        self._ring = FrameRing.create(slot_bytes=job.slot_bytes)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._control.setblocking(False)
            self._control.send(job.encode())
            self._process = _spawn(module, theirs.fileno(), self._ring.descriptor)
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            self._control.close()
            self._ring.close()
            raise
        finally:
            theirs.close()
        self._loop.add_reader(self._control, self._hear)
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def missing(self) -> int:
        """Frames that it has taken in and said nothing of yet."""
        return min(max(0, self._ring.taken_in - self._accounted), MAX_COUNT)

    def connect(self) -> None:
        """Ask for a connection: `Opened` or `NotOpened` will come, after `Opened` frames and at last `Broken`."""
        self.connections += 1
        self._say(CONNECT)

    def kill(self) -> None:
        """End it, whatever it is at; nothing more is told."""
        if not self._is_over:
            self._is_over = True
            self._loop.remove_reader(self._control)
            self._control.close()
            self._process.kill()

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of it."""
        return self._gone.done()

    async def gone(self) -> None:
        """Wait until nothing is left of it, once it was killed or has died."""
        await asyncio.shield(self._gone)

    def _say(self, command: bytes) -> None:
        with contextlib.suppress(OSError):  # it is dying, and will be heard of
            self._control.send(command)

    def _hear(self) -> None:
        for _ in range(_BATCH):
            try:
                news = self._understood(decode(self._control.recv(MAX_BYTES)))
            except BlockingIOError:
                return
            except (OSError, ValueError):  # it has hung up, or gone mad: its words and pixels are worth nothing now
                self._mourn()
                return
            self._tell(news)
            if self._is_over:
                return

    def _mourn(self) -> None:
        missing = self.missing
        self.kill()
        self._tell(Died(missing))

    def _understood(self, message: Message) -> News:
        if isinstance(message, Shed):
            self._accounted += message.count
        if not isinstance(message, Filled):
            return message
        rgb = self._ring.read(message.slot, width_px=message.width_px, height_px=message.height_px)
        self._accounted += 1
        self._say(b"%d" % message.slot)
        return Picture(message, rgb)

    def _reap(self) -> None:
        """The process has ended: hear what it still said, then close up."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        for _ in range(_LAST_BATCHES):
            if not self._is_over:
                self._hear()
        if not self._is_over:
            self._mourn()
        self._ring.close()
        self._gone.set_result(None)


def _spawn(module: str, control: int, ring: int) -> subprocess.Popen[bytes]:
    """Started with nothing but two descriptors and an environment without secrets, in a session of its own."""
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",  # each arena more is 64 MB of address space
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ},
    }
    arguments = [str(control), str(ring), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a traceback could show the URL
        env=environment,
        cwd="/",
        pass_fds=(control, ring),
        start_new_session=True,
    )
