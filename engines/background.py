"""Work that may wait: a process in the background computes on cores that nobody else wants, until it is called back.

Two things decide who goes first on Linux, and both are set. SCHED_IDLE yields to all others of its control group. Where
the kernel groups tasks by session instead (`sched_autogroup`, on outside of control groups), classes and nice values
count within a session only, and a process in a session of its own yields by the nice value of that whole group: of two
that spin on one core, it got 0.50 with SCHED_IDLE or nice 19, and 0.01 with its group at 19 (6.18, 2026-11-23).
Source: sched(7), "SCHED_IDLE" and "The autogroup feature".
"""

import contextlib
import errno
import logging
import os
import time
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Final

LOG = logging.getLogger("sightline")
_USUAL, _LAST = "0", "19"
_REFUSED: Final = frozenset({errno.EAGAIN, errno.EINTR})
"""The kernel takes ten changes a second of all unprivileged processes together."""
_RETRIED_S: Final = 2.0
_PAUSE_S: Final = 0.05
_PASSES: Final = 3
"""Threads may begin while others are called back; they are of the class of the one that began them."""


def send_back(pid: int) -> None:
    """Let the process, which leads its session and has one thread, yield to others, as far as it may come back."""
    if _comes_back():
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    _set_group(pid, _LAST)


def call_back(pid: int) -> None:
    """Let it compute as everybody does, with all its threads; harmless for one that was never sent back."""
    for _ in range(_PASSES):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                _leave(int(task.name))
    _set_group(pid, _USUAL)


def _leave(task: int) -> None:
    with contextlib.suppress(OSError):  # that thread has ended
        if os.sched_getscheduler(task) == os.SCHED_IDLE:
            os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))


def _set_group(pid: int, nice: str) -> None:
    """Set the nice value of its session's group; nothing happens where there are no such groups."""
    end_s = time.monotonic() + _RETRIED_S
    while True:
        try:
            Path(f"/proc/{pid}/autogroup").write_text(nice, encoding="ascii")
        except OSError as error:
            if error.errno not in _REFUSED:
                return  # no such groups here, or the process has ended
            if time.monotonic() > end_s:
                LOG.warning("the group of process %d keeps its nice value", pid)
                return
            time.sleep(_PAUSE_S)
        else:
            return


@cache
def _comes_back() -> bool:
    """Whether the kernel lets a thread of ours leave SCHED_IDLE: it asks for CAP_SYS_NICE, or a limit on nice values.

    A thread that ends with it finds that out: in a container the capabilities that it sees may not be those that count.
    """
    found: list[bool] = []

    def there_and_back() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        except OSError:
            found.append(False)
        else:
            found.append(True)

    thread = Thread(target=there_and_back, name="there-and-back")
    thread.start()
    thread.join()
    return found[0]
