"""How processes that move pictures keep the pages that pictures lie in, and how many fresh ones they had to touch."""

import resource
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

HEAP_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20), "MALLOC_ARENA_MAX": "2"}
)
"""What glibc has to find in the environment when a process starts.

Left to itself, it gives the pages of a micro-batch back to the kernel when the batch dies, and touches fresh, zeroed
ones for the next: 180 to 300 faults an image, 6 to 10 % of the processor time. With the first two it keeps blocks of
up to 32 MiB, the largest value it accepts, and 128 MiB of them in each arena. A pool of buffers gained the same and no
more, could not hold what FFmpeg allocates, and would have been code (scenario `fresh-pages`; Xeon, 2026-11-23).
Two arenas, not eight a core: Ray's threads allocate in one and free in another, and what each held free kept growing.
The ingress under load held 30.8 MiB free after two minutes, 13.2 after four with two arenas (one run each).
Source: mallopt(3), M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD; either of the latter two alone switches the
adaptive threshold off and leaves every picture above 128 KiB to mmap.
"""


def fresh_pages() -> int:
    """Pages that this process has touched for the first time since it started: a counter, of 4 KiB pages mostly."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
