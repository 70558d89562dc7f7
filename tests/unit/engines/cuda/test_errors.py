"""CUDA's errors are told apart by number and by the words that PyCUDA passes on."""

import pytest

from app.core.errors import DeviceLostError, DeviceMemoryError, UnavailableError
from engines.cuda.errors import FAULTS, WORDS, CudaFault, error_for, fault_in_words, fault_of_code
from engines.cuda_status import STICKY, CudaStatus


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_known_by_number_by_words_and_by_name(fault: CudaFault) -> None:
    assert fault_of_code(fault.code) is fault
    assert fault_in_words(f"cuMemAlloc failed: {fault.words}") is fault
    assert fault_in_words(f"cuMemAlloc failed: {fault.words} - no currently active context?") is fault
    assert fault_in_words(f"Error 1: Cuda Runtime ({fault.name})") is fault


def test_every_status_has_words() -> None:
    assert set(WORDS) == set(CudaStatus) - {CudaStatus.CUDA_SUCCESS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_kind_becomes_its_error_without_the_drivers_words(fault: CudaFault) -> None:
    error = error_for(fault)
    expected = {True: DeviceLostError, False: UnavailableError}[fault.is_sticky]
    assert type(error) is (DeviceMemoryError if fault.is_out_of_memory else expected)
    assert "CUDA" not in error.detail
    assert fault.is_sticky == (fault.code in set(STICKY))


def test_what_is_not_known_is_unavailable_for_now() -> None:
    assert fault_in_words("something new happened") is None
    assert fault_of_code(12345) is None
    assert type(error_for(None)) is UnavailableError
