"""What this process has of the system's: to be compared before and after."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holdings:
    """Live child processes, what the descriptors lead to, mappings of lanes, names in shared memory."""

    children: frozenset[int]
    descriptors: Counter[str]
    lanes: int
    shared: frozenset[str]


def holdings() -> Holdings:
    """What there is now, without what earlier tests left for the collector."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return Holdings(
        children=frozenset(_children()),
        descriptors=Counter(_descriptors()),
        lanes=sum("memfd:lane" in line for line in maps),
        shared=frozenset(os.listdir("/dev/shm")),  # noqa: PTH208, S108  only the names
    )


def rss_bytes() -> int:
    """The memory that this process has in RAM, shared pages included."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            yield from map(int, task.joinpath("children").read_text(encoding="ascii").split())


def _descriptors() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            yield str(entry.readlink()).partition("[")[0]
        except OSError:
            continue  # the one that this listing was read through
