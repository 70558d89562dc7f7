"""What the CUDA driver says when it refuses, which of it ends a process, and what callers are told instead."""

from enum import IntEnum
from typing import Final

from app.core.errors import DeviceLostError, DeviceMemoryError, SightlineError, UnavailableError


class CudaStatus(IntEnum):
    """The results that an engine can meet. Source: cuda.h of CUDA 13.0, enum cudaError_enum."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_INITIALIZED = 3
    CUDA_ERROR_DEINITIALIZED = 4
    CUDA_ERROR_DEVICE_UNAVAILABLE = 46
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_ECC_UNCORRECTABLE = 214
    CUDA_ERROR_NVLINK_UNCORRECTABLE = 220
    CUDA_ERROR_CONTAINED = 226
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_NOT_READY = 600
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701
    CUDA_ERROR_LAUNCH_TIMEOUT = 702
    CUDA_ERROR_CONTEXT_IS_DESTROYED = 709
    CUDA_ERROR_ASSERT = 710
    CUDA_ERROR_HARDWARE_STACK_ERROR = 714
    CUDA_ERROR_ILLEGAL_INSTRUCTION = 715
    CUDA_ERROR_MISALIGNED_ADDRESS = 716
    CUDA_ERROR_INVALID_ADDRESS_SPACE = 717
    CUDA_ERROR_INVALID_PC = 718
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_SYSTEM_NOT_READY = 802
    CUDA_ERROR_UNKNOWN = 999


STICKY: Final = frozenset(
    {
        CudaStatus.CUDA_ERROR_DEINITIALIZED,
        CudaStatus.CUDA_ERROR_INVALID_CONTEXT,
        CudaStatus.CUDA_ERROR_ECC_UNCORRECTABLE,
        CudaStatus.CUDA_ERROR_NVLINK_UNCORRECTABLE,
        CudaStatus.CUDA_ERROR_CONTAINED,
        CudaStatus.CUDA_ERROR_ILLEGAL_ADDRESS,
        CudaStatus.CUDA_ERROR_LAUNCH_TIMEOUT,
        CudaStatus.CUDA_ERROR_CONTEXT_IS_DESTROYED,
        CudaStatus.CUDA_ERROR_ASSERT,
        CudaStatus.CUDA_ERROR_HARDWARE_STACK_ERROR,
        CudaStatus.CUDA_ERROR_ILLEGAL_INSTRUCTION,
        CudaStatus.CUDA_ERROR_MISALIGNED_ADDRESS,
        CudaStatus.CUDA_ERROR_INVALID_ADDRESS_SPACE,
        CudaStatus.CUDA_ERROR_INVALID_PC,
        CudaStatus.CUDA_ERROR_LAUNCH_FAILED,
        CudaStatus.CUDA_ERROR_UNKNOWN,
    }
)
"""After most of these "the process must be terminated and relaunched" (cuda.h). The others lose the context or the
driver, which comes to the same. UNKNOWN is one of them, because an engine that may compute anything is worse than one
restart more."""


class CudaError(Exception):
    """A driver call that failed: `status`, and which `call` it was. It does not leave `engines`."""

    def __init__(self, status: CudaStatus, call: str) -> None:
        super().__init__(status, call)
        self.status = status
        self.call = call

    def __str__(self) -> str:
        return f"{self.call} failed: {self.status.name} ({self.status.value})"


def told(error: CudaError) -> SightlineError:
    """The same for callers, who can do nothing about it but come again."""
    if error.status is CudaStatus.CUDA_ERROR_OUT_OF_MEMORY:
        return DeviceMemoryError("the GPU has no memory left for this batch")
    if error.status in STICKY:
        return DeviceLostError("the GPU's context is lost")
    return UnavailableError("the GPU is not available")
