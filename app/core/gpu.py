"""What is to be seen of a GPU, and the port that reads it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTraffic:
    """Bytes per second over a link: `up` to the GPU, `down` from it."""

    up_bytes_per_s: float
    down_bytes_per_s: float

    @property
    def busier_bytes_per_s(self) -> float:
        """Those of the busier direction: the two do not share their lanes."""
        return max(self.up_bytes_per_s, self.down_bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU at one moment, or since the reading before; None where the device does not tell.

    `vram_dynamic_bytes` of `vram_used_bytes` come and go with the load, the others are the loaded models'. Ratios in
    [0, 1]; `pcie_bytes_per_s` is what one direction of the link can carry in theory.
    """

    device: str
    vram_used_bytes: int
    vram_total_bytes: int
    vram_dynamic_bytes: int
    utilisation: float | None = None
    decoder_utilisation: float | None = None
    pcie: LinkTraffic | None = None
    pcie_bytes_per_s: float | None = None
    nvlink: LinkTraffic | None = None

    @property
    def vram_used(self) -> float:
        """The share of the memory that is in use."""
        return _ratio(self.vram_used_bytes, self.vram_total_bytes)

    @property
    def vram_dynamic(self) -> float:
        """The share of the memory that comes and goes with the load."""
        return _ratio(self.vram_dynamic_bytes, self.vram_total_bytes)

    @property
    def pcie_utilisation(self) -> float:
        """The share of the theoretical bandwidth that the busier direction has; 0 where it is not known."""
        if self.pcie is None or self.pcie_bytes_per_s is None:
            return 0.0
        return _ratio(self.pcie.busier_bytes_per_s, self.pcie_bytes_per_s)


class GpuMeter(Protocol):
    """Reads one GPU. A call may take tens of milliseconds: never on the way of a frame."""

    def read(self) -> GpuReading | None:
        """The GPU as it stands; None where nothing can be had of it now."""


def _ratio(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
