"""CUDA's errors told apart: which leave the process usable, which only want less memory, which are the end of it.

Source: CUDA driver API, CUresult. Names and words are the driver's own; PyCUDA passes on the words and not the name.
"""

from dataclasses import dataclass

from app.core.errors import DeviceLostError, DeviceMemoryError, SightlineError, UnavailableError
from engines.cuda_status import STICKY, CudaStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaFault:
    """One status of the driver. After a sticky one every later call of this process fails: only a new process helps."""

    name: str
    code: int
    words: str
    is_sticky: bool = False
    is_out_of_memory: bool = False


WORDS = {
    CudaStatus.CUDA_ERROR_INVALID_VALUE: "invalid argument",
    CudaStatus.CUDA_ERROR_OUT_OF_MEMORY: "out of memory",
    CudaStatus.CUDA_ERROR_NOT_INITIALIZED: "initialization error",
    CudaStatus.CUDA_ERROR_DEINITIALIZED: "driver shutting down",
    CudaStatus.CUDA_ERROR_DEVICE_UNAVAILABLE: "CUDA-capable device(s) is/are busy or unavailable",
    CudaStatus.CUDA_ERROR_NO_DEVICE: "no CUDA-capable device is detected",
    CudaStatus.CUDA_ERROR_INVALID_DEVICE: "invalid device ordinal",
    CudaStatus.CUDA_ERROR_INVALID_CONTEXT: "invalid device context",
    CudaStatus.CUDA_ERROR_ECC_UNCORRECTABLE: "uncorrectable ECC error encountered",
    CudaStatus.CUDA_ERROR_NVLINK_UNCORRECTABLE: "uncorrectable NVLink error detected during the execution",
    CudaStatus.CUDA_ERROR_CONTAINED: "Invalid access of peer GPU memory over nvlink or a hardware error",
    CudaStatus.CUDA_ERROR_INVALID_HANDLE: "invalid resource handle",
    CudaStatus.CUDA_ERROR_NOT_READY: "device not ready",
    CudaStatus.CUDA_ERROR_ILLEGAL_ADDRESS: "an illegal memory access was encountered",
    CudaStatus.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: "too many resources requested for launch",
    CudaStatus.CUDA_ERROR_LAUNCH_TIMEOUT: "the launch timed out and was terminated",
    CudaStatus.CUDA_ERROR_CONTEXT_IS_DESTROYED: "context is destroyed",
    CudaStatus.CUDA_ERROR_ASSERT: "device-side assert triggered",
    CudaStatus.CUDA_ERROR_HARDWARE_STACK_ERROR: "hardware stack error",
    CudaStatus.CUDA_ERROR_ILLEGAL_INSTRUCTION: "an illegal instruction was encountered",
    CudaStatus.CUDA_ERROR_MISALIGNED_ADDRESS: "misaligned address",
    CudaStatus.CUDA_ERROR_INVALID_ADDRESS_SPACE: "operation not supported on global/shared address space",
    CudaStatus.CUDA_ERROR_INVALID_PC: "invalid program counter",
    CudaStatus.CUDA_ERROR_LAUNCH_FAILED: "unspecified launch failure",
    CudaStatus.CUDA_ERROR_SYSTEM_NOT_READY: "system not yet initialized",
    CudaStatus.CUDA_ERROR_UNKNOWN: "unknown error",
}
FAULTS = (
    *(
        CudaFault(
            name=status.name,
            code=status.value,
            words=words,
            is_sticky=status in STICKY,
            is_out_of_memory=status is CudaStatus.CUDA_ERROR_OUT_OF_MEMORY,
        )
        for status, words in WORDS.items()
    ),
    CudaFault(
        name="CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        code=900,
        words="operation not permitted when stream is capturing",
    ),
    CudaFault(
        name="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        code=901,
        words="operation failed due to a previous error during capture",
    ),
)
"""What an engine can meet, and besides those the two ways in which a graph's capture is refused."""


class CudaCallError(Exception):
    """A call of ours to the driver that did not succeed; `fault` is None where the status is none of FAULTS."""

    def __init__(self, words: str, fault: CudaFault | None = None) -> None:
        super().__init__(words)
        self.fault = fault


def fault_of_code(code: int) -> CudaFault | None:
    """Return the fault with that number."""
    return next((fault for fault in FAULTS if fault.code == code), None)


def fault_in_words(text: str) -> CudaFault | None:
    """Return the fault whose words, or name, stand in the text: PyCUDA says `cuMemAlloc failed: out of memory`.

    The one with the longest words, since some contain another's.
    """
    found = [fault for fault in FAULTS if fault.words in text or fault.name in text]
    return max(found, key=lambda fault: len(fault.words), default=None)


def error_for(fault: CudaFault | None) -> SightlineError:
    """Return what the caller is told; the driver's own words belong in the log."""
    if fault is not None and fault.is_sticky:
        return DeviceLostError()
    if fault is not None and fault.is_out_of_memory:
        return DeviceMemoryError()
    return UnavailableError("the GPU refused this call; another one may pass")
