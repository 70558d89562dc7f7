"""What the processes of a service hold, as /proc tells it: files, threads, memory now and at its highest."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from load_tests.service import Service

MIB = 1024**2
_PROC = Path("/proc")
_RESET_PEAK = "5"
"""proc(5), clear_refs: the highest resident size starts anew at what it is now."""


def serving(service: Service) -> dict[int, str]:
    """The processes that a request goes through: proxy and replicas, by id."""
    titles = service.processes().items()
    # While a call runs, Ray adds its name behind a dot.
    names = {pid: title.split(".")[0] for pid, title in titles}
    return {pid: name for pid, name in names.items() if "ServeReplica" in name or "proxy" in name.lower()}


@dataclass(frozen=True, slots=True, order=True)
class Census:
    """Sums over the processes: files open, those of them that are unlinked already, and threads."""

    files: int
    unlinked: int
    threads: int

    def is_within(self, other: "Census", *, slack: int = 0) -> bool:
        """Whether no unlinked file has come, and at most `slack` others and threads: Ray has some of its own."""
        return (
            self.unlinked <= other.unlinked
            and self.files <= other.files + slack
            and self.threads <= other.threads + slack
        )


def census(pids: Iterable[int]) -> Census:
    """What they hold now."""
    opened = [_target(link) for pid in pids for link in (_PROC / str(pid) / "fd").iterdir()]
    unlinked = [target for target in opened if target.startswith("/") and target.endswith(" (deleted)")]
    threads = [task for pid in pids for task in (_PROC / str(pid) / "task").iterdir()]
    return Census(files=len(opened), unlinked=len(unlinked), threads=len(threads))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed
        return ""


class Peak:
    """How far the processes' own memory rose together, at its highest, since this was made.

    Ray's object store is left out: it has a fixed size, and its pages count in every process that has ever touched one.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._before_bytes = self._own_bytes("VmRSS")
        for pid in self._pids:
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)

    def rise_bytes(self) -> int:
        """The sum of each process's own highest, though these need not coincide."""
        return self._own_bytes("VmHWM") - self._before_bytes

    def left_bytes(self) -> int:
        """What has stayed of it."""
        return self._own_bytes("VmRSS") - self._before_bytes

    def _own_bytes(self, field: str) -> int:
        """Source: proc(5), status; values are in KiB."""
        texts = [(_PROC / str(pid) / "status").read_text() for pid in self._pids]
        return sum(_kib(text, field) - _kib(text, "RssShmem") for text in texts) * 1024


def _kib(text: str, field: str) -> int:
    return int(text.split(f"{field}:")[1].split(maxsplit=1)[0])


def comes_true(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Whether it does in time."""
    deadline_s = time.monotonic() + within_s
    while not (is_true := condition()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return is_true
