"""The GPU as NVIDIA's management library sees it. Source: facts/tensorrt.md §6, nvidia-ml-py 13.615."""

import importlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

from app.core.gpu import GpuReading, LinkTraffic
from engines.pcie import counted, link_of
from engines.vram_floor import VramFloor

T = TypeVar("T")
LOG = logging.getLogger("sightline")
_PCIE_SENT, _PCIE_RECEIVED = 197, 198  # NVML_FI_DEV_PCIE_COUNT_{TX,RX}_BYTES: sent by the GPU is down
_NVLINK_SENT, _NVLINK_RECEIVED = 138, 139  # NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_{TX,RX}, in KiB
_ALL_LINKS: Final = 0xFFFFFFFF
"""As the scope of an NVLink's field: the sum of all of them. Source: nvml.h, nvmlFieldValue_t."""
_KIB: Final = 1024
_UTIL_SENT, _UTIL_RECEIVED = 0, 1  # NVML_PCIE_UTIL_{TX,RX}_BYTES, in kB/s
_MEMORY_V2: Final = 0x02000028  # nvmlMemory_v2: the driver's reserve is not counted as used
_SLACK: Final = 2.0
"""How far a counter may run ahead of the link and our clock, before it is taken to have begun anew."""
_UNSIGNED_INT: Final = 1  # NVML_VALUE_TYPE_UNSIGNED_INT; what else counts has 64 bits


class NvmlLibrary(Protocol):
    """What of the module `pynvml` is called here; a test holds it to the real one."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102, N802
    def nvmlShutdown(self) -> None: ...  # noqa: D102, N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: D102, N802
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any: ...  # noqa: D102, N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any: ...  # noqa: D102, N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: D102, N802
    def nvmlDeviceGetDecoderUtilization(self, handle: Any) -> list[int]: ...  # noqa: D102, N802
    def nvmlDeviceGetFieldValues(self, handle: Any, fieldIds: Sequence[Any]) -> Sequence[Any]: ...  # noqa: D102, N802, N803
    def nvmlDeviceGetPcieThroughput(self, device: Any, counter: int) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: Any) -> int: ...  # noqa: D102, N802


@dataclass(slots=True)
class _Counters:
    """Two cumulative counters as they stood, in units of `unit_bytes`."""

    fields: tuple[Any, Any]
    unit_bytes: int
    at_s: float = 0.0
    values: tuple[int, int] | None = None


class NvmlMeter:
    """One GPU, by its index or UUID. Not for several threads at once.

    `read` takes about a millisecond; 40 where the driver has no PCIe counters and measures when it is asked. NVML
    counts GPUs in the order of their bus addresses and CUDA the fastest first, unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`:
    on a host with different GPUs that must be set.
    """

    def __init__(self, device: str, *, library: NvmlLibrary, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises the library's error when there is no such device."""
        self._nvml = library
        self._device = device
        self._clock = clock
        library.nvmlInit()
        self._handle = _handle_of(device, library)
        self._floor = VramFloor()
        self._pcie = _Counters((_PCIE_SENT, _PCIE_RECEIVED), 1)
        self._nvlink = _Counters(((_NVLINK_SENT, _ALL_LINKS), (_NVLINK_RECEIVED, _ALL_LINKS)), _KIB)
        generation = self._told(lambda: library.nvmlDeviceGetMaxPcieLinkGeneration(self._handle)) or 0
        lanes = self._told(lambda: library.nvmlDeviceGetMaxPcieLinkWidth(self._handle)) or 0
        # What GPU and host can do together: the link that runs now is slower while the GPU is idle.
        link = link_of(generation=generation, lanes=lanes)
        self._link_bytes_per_s = None if link is None else link.theoretical_bytes_per_s

    def read(self) -> GpuReading | None:
        """The GPU as it stands, rates since the reading before; None when it does not answer."""
        nvml, handle, now_s = self._nvml, self._handle, self._clock()
        memory = self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=_MEMORY_V2))
        if memory is None:
            return None
        used_bytes = int(memory.used)
        utilisation = self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        decoder = self._told(lambda: nvml.nvmlDeviceGetDecoderUtilization(handle)[0] / 100)
        return GpuReading(
            device=self._device,
            vram_used_bytes=used_bytes,
            vram_total_bytes=int(memory.total),
            vram_dynamic_bytes=used_bytes - self._floor.lowest(used_bytes, now_s=now_s),
            utilisation=utilisation,
            decoder_utilisation=decoder,
            pcie=self._pcie_traffic(now_s),
            pcie_bytes_per_s=self._link_bytes_per_s,
            nvlink=self._traffic(self._nvlink, now_s, bytes_per_s=float("inf"))[0],
        )

    def close(self) -> None:
        """Let go of the library."""
        self._told(self._nvml.nvmlShutdown)

    def _pcie_traffic(self, now_s: float) -> LinkTraffic | None:
        traffic, is_supported = self._traffic(self._pcie, now_s, bytes_per_s=self._link_bytes_per_s or float("inf"))
        if is_supported:
            return traffic
        nvml, handle = self._nvml, self._handle
        down = self._told(lambda: nvml.nvmlDeviceGetPcieThroughput(handle, _UTIL_SENT))
        up = self._told(lambda: nvml.nvmlDeviceGetPcieThroughput(handle, _UTIL_RECEIVED))
        if up is None or down is None:
            return None
        return LinkTraffic(up_bytes_per_s=1000.0 * up, down_bytes_per_s=1000.0 * down)

    def _traffic(self, counters: _Counters, now_s: float, *, bytes_per_s: float) -> tuple[LinkTraffic | None, bool]:
        """The rates since the last call, None where they cannot be known, and whether the device counts at all."""
        fields = self._told(lambda: self._nvml.nvmlDeviceGetFieldValues(self._handle, list(counters.fields)))
        if fields is None or any(field.nvmlReturn != 0 for field in fields):
            return None, False
        sent, received = (_number(field) for field in fields)
        before, elapsed_s = counters.values, now_s - counters.at_s
        counters.values, counters.at_s = (sent, received), now_s
        if before is None or elapsed_s <= 0:
            return None, True
        most = _SLACK * bytes_per_s * elapsed_s / counters.unit_bytes
        down, up = counted(before[0], sent, most=most), counted(before[1], received, most=most)
        if down is None or up is None:
            return None, True
        per_s = counters.unit_bytes / elapsed_s
        return LinkTraffic(up_bytes_per_s=up * per_s, down_bytes_per_s=down * per_s), True

    def _told(self, call: Callable[[], T]) -> T | None:
        """What the device says; None where it does not support that, or is gone."""
        try:
            return call()
        except self._nvml.NVMLError:
            return None


def open_meter(visible: str | None = None, *, library: NvmlLibrary | None = None) -> NvmlMeter | None:
    """A meter of the first GPU that this process may use; None where there is none, or no way to see it.

    `visible` is as `CUDA_VISIBLE_DEVICES`, which is read where it is None.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if visible is None else visible
    device = visible.split(",")[0].strip()
    if not device or device == "-1":
        return None
    try:
        nvml = library or cast("NvmlLibrary", importlib.import_module("pynvml"))
    except ModuleNotFoundError:
        return None
    try:
        return NvmlMeter(device, library=nvml)
    except nvml.NVMLError as error:
        LOG.info("no GPU is to be seen: %s", error)
        return None


def _handle_of(device: str, nvml: NvmlLibrary) -> Any:
    return (
        nvml.nvmlDeviceGetHandleByIndex(int(device)) if device.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(device)
    )


def _number(field: Any) -> int:
    return int(field.value.uiVal if field.valueType == _UNSIGNED_INT else field.value.ullVal)
