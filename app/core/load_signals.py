"""How loaded a replica is, in the four numbers that scaling decides by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSignals:
    """The load of one replica over the last sampling window.

    `qps` in answered frames per second; the others are ratios in [0, 1]: `vram_used` of the device's memory in use,
    `vram_dynamic` the part of it that comes and goes with load (what a loaded model alone does not hold), `pcie` the
    busier direction of the link over its theoretical bandwidth. 0 for the three where there is no device.
    """

    qps: float
    vram_used: float = 0.0
    vram_dynamic: float = 0.0
    pcie: float = 0.0
