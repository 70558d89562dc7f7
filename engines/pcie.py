"""The link between host and GPU: how fast it may be, and how much of that is used."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

_LANE_BYTES_PER_S: Final = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.56e9}
"""Per lane and direction, by generation. Source: facts/tensorrt.md §6."""
_PRACTICAL: Final = 0.85
"""DMA reaches 80 to 90 % of that. Source: facts/tensorrt.md §6."""
WINDOW_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PcieLink:
    """The generation and the number of lanes that the link runs at now."""

    generation: int = 4
    lanes: int = 16

    @property
    def bytes_per_s(self) -> float:
        """What copies in one direction can reach."""
        return _LANE_BYTES_PER_S[self.generation] * self.lanes * _PRACTICAL


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
        self._forget(now_s)
        up_bytes = sum(up for _, up, _ in self._recent)
        down_bytes = sum(down for _, _, down in self._recent)
        return min(1.0, max(up_bytes, down_bytes) / (link.bytes_per_s * WINDOW_S))

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0][0] <= now_s - WINDOW_S:
            self._recent.popleft()
