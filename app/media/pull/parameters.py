"""What may be pulled, how long it may be silent and how much a decoder may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.media.fetch_guard import FetchParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class PullParameters:
    """What may be pulled; nothing, as long as both lists are empty.

    `allowed_hosts` and `allow_private` are those of FetchParameters (an entry without `:port` covers the scheme's own
    port: 554 for rtsp, 322 for rtsps); `allowed_folders` are absolute, and what lies below them may be read. A
    connection may take `connect_s`; after `stall_s` without a frame it is given up, whatever holds it.

    A decoder process may use `memory_bytes` of address space, is replaced after `max_connections`, and when
    `max_crashes` of them died or hung within `crash_window_s` the stream ends. `ring_frames` wait for a consumer that
    is slower than the source. `pace` plays files and playlists as a camera would, not as fast as they can be read.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    allowed_folders: tuple[str, ...] = ()
    connect_s: float = 10.0
    stall_s: float = 10.0
    ring_frames: int = 3  # MISSION.md row 75, max-buffers=3
    pace: bool = True
    memory_bytes: int = 2 << 30  # 8K at 10 bits with 16 reference frames needs 1.7 GB
    max_connections: int = 100
    max_crashes: int = 5
    crash_window_s: float = 60.0  # Frigate's bound: 5 restarts a minute

    def __post_init__(self) -> None:
        self.fetch()  # the entries of the list are checked there
        if not all(folder.startswith("/") and folder != "/" for folder in self.allowed_folders):
            raise ValueError("allowed_folders must be absolute, and not the root")
        bounds = (self.connect_s, self.stall_s, self.memory_bytes, self.crash_window_s, self.max_crashes)
        if not (all(bound > 0 for bound in bounds) and self.ring_frames > 0 and self.max_connections > 0):
            raise ValueError("every bound of a pulled stream must be over 0")

    def fetch(self) -> FetchParameters:
        """The same list and the same addresses as the ones that pictures are fetched from."""
        return FetchParameters(
            allowed_hosts=self.allowed_hosts, allow_private=self.allow_private, timeout_s=self.connect_s
        )


DEFAULT_PORTS: Final[Mapping[str, int]] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Source: RFC 7826 section 4.2 for the first two."""
