"""The link between host and GPU: how fast it may be, and how much of that is used."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from app.core.gpu import LinkTraffic

_LANE_BYTES_PER_S: Final = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.56e9}
"""Per lane and direction, by generation. Source: facts/tensorrt.md §6."""
_PRACTICAL: Final = 0.85
"""DMA reaches 80 to 90 % of that. Source: facts/tensorrt.md §6."""
WINDOW_S: Final = 1.0
_COUNTER_BITS: Final = (32, 64)
"""NVML does not say how wide a counter is that "can be wrapped" (nvml.h). A wide one is hardly ever at its end."""


def counted(before: int, now: int, *, most: float) -> int | None:
    """By how much a cumulative counter grew that wraps; None where it must have begun anew, as after a driver's reset.

    `most` is more than can have gone over the link in the meantime.
    """
    ends = [now, *(now + (1 << bits) for bits in _COUNTER_BITS if before < 1 << bits)]
    return next((end - before for end in ends if 0 <= end - before <= most), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PcieLink:
    """The generation and the number of lanes that the link runs at now."""

    generation: int = 4
    lanes: int = 16

    @property
    def theoretical_bytes_per_s(self) -> float:
        """What one direction carries if nothing but data went over it."""
        return _LANE_BYTES_PER_S[self.generation] * self.lanes

    @property
    def bytes_per_s(self) -> float:
        """What copies in one direction can reach."""
        return self.theoretical_bytes_per_s * _PRACTICAL


def link_of(*, generation: int, lanes: int) -> PcieLink | None:
    """The link of that generation; None for one that is not known here, newer than this table."""
    return PcieLink(generation=generation, lanes=lanes) if generation in _LANE_BYTES_PER_S and lanes > 0 else None


@dataclass(slots=True)
class PcieMeter:
    """Bytes copied to the GPU (`up`) and from it (`down`) since the start, and in the last second."""

    up_bytes: int = field(default=0, init=False)
    down_bytes: int = field(default=0, init=False)
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque, init=False)

    def copied(self, *, now_s: float, up_bytes: int = 0, down_bytes: int = 0) -> None:
        """Count one copy that has ended."""
        self.up_bytes += up_bytes
        self.down_bytes += down_bytes
        self._recent.append((now_s, up_bytes, down_bytes))
        self._forget(now_s)

    def utilisation(self, link: PcieLink, *, now_s: float) -> float:
        """The share of the last second's bandwidth that was used, of the busier direction."""
        return min(1.0, self.traffic(now_s=now_s).busier_bytes_per_s / link.bytes_per_s)

    def traffic(self, *, now_s: float) -> LinkTraffic:
        """The bytes of the last second."""
        self._forget(now_s)
        up_bytes = sum(up for _, up, _ in self._recent)
        down_bytes = sum(down for _, _, down in self._recent)
        return LinkTraffic(up_bytes_per_s=up_bytes / WINDOW_S, down_bytes_per_s=down_bytes / WINDOW_S)

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0][0] <= now_s - WINDOW_S:
            self._recent.popleft()
