"""A reading of a GPU as metrics."""

from app.core import metrics as table
from app.core.gpu import GpuReading
from app.core.metrics import Metrics


def record(reading: GpuReading, metrics: Metrics) -> None:
    """Put down all that the device told."""
    device = (reading.device,)
    metrics.set(table.GPU_VRAM_USED, device, to=reading.vram_used_bytes)
    metrics.set(table.GPU_VRAM_TOTAL, device, to=reading.vram_total_bytes)
    metrics.set(table.GPU_VRAM_DYNAMIC, device, to=reading.vram_dynamic_bytes)
    if reading.utilisation is not None:
        metrics.set(table.GPU_UTILISATION, device, to=reading.utilisation)
    if reading.decoder_utilisation is not None:
        metrics.set(table.GPU_DECODER, device, to=reading.decoder_utilisation)
    if reading.pcie is not None:
        metrics.set(table.GPU_PCIE, (*device, "up"), to=reading.pcie.up_bytes_per_s)
        metrics.set(table.GPU_PCIE, (*device, "down"), to=reading.pcie.down_bytes_per_s)
        metrics.set(table.GPU_PCIE_UTILISATION, device, to=reading.pcie_utilisation)
    if reading.nvlink is not None:
        metrics.set(table.GPU_NVLINK, (*device, "up"), to=reading.nvlink.up_bytes_per_s)
        metrics.set(table.GPU_NVLINK, (*device, "down"), to=reading.nvlink.down_bytes_per_s)
