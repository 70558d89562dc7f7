import pytest

from app.core.errors import DeviceLostError, DeviceMemoryError, UnavailableError
from engines.cuda_status import STICKY, CudaError, CudaStatus, told


@pytest.mark.parametrize("status", sorted(STICKY))
def test_after_a_sticky_error_the_device_is_lost(status: CudaStatus) -> None:
    assert isinstance(told(CudaError(status, "cuStreamSynchronize")), DeviceLostError)


def test_memory_is_an_error_of_its_own_and_not_sticky() -> None:
    assert type(told(CudaError(CudaStatus.CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc"))) is DeviceMemoryError
    assert CudaStatus.CUDA_ERROR_OUT_OF_MEMORY not in STICKY


@pytest.mark.parametrize("status", sorted(set(CudaStatus) - STICKY - {CudaStatus.CUDA_ERROR_OUT_OF_MEMORY}))
def test_everything_else_may_be_tried_again(status: CudaStatus) -> None:
    assert type(told(CudaError(status, "cuInit"))) is UnavailableError


def test_callers_are_told_nothing_of_the_inside_and_the_log_is() -> None:
    error = CudaError(CudaStatus.CUDA_ERROR_ILLEGAL_ADDRESS, "cuStreamSynchronize")
    assert str(error) == "cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS (700)"
    assert "CUDA_ERROR" not in told(error).detail
    assert "cu" not in told(error).detail.split()
