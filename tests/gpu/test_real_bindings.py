"""The real bindings, without a GPU and without TensorRT's libraries: their enums, and that they take our callbacks.

They skip where `tensorrt_bindings` or `pycuda` cannot be imported. Empty libraries of TensorRT's names on
LD_LIBRARY_PATH, and one of CUDA's driver that finds no device, are enough; no object of TensorRT can be made with them.
"""

from types import ModuleType

import pytest

from app.core.errors import UnavailableError
from engines.cuda.bindings import Bindings, cuda_available
from engines.cuda.device import Device
from engines.cuda.errors import CudaCallError, fault_in_words
from engines.cuda.graph_driver import LibCuda
from engines.cuda.memory_pool import MemoryPool
from engines.profiles import DEFAULTS
from engines.tensorrt_build import FLAGS
from engines.tensorrt_log import process_log
from engines.tensorrt_output import new_output
from engines.tensorrt_progress import new_progress
from tests import fake_tensorrt


class NoMemory:
    def allocate(self, size_bytes: int) -> int:
        return size_bytes << 21

    def free(self, address: int) -> None:
        del address


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    try:
        import tensorrt_bindings
    except ImportError as error:
        pytest.skip(f"TensorRT's bindings cannot be imported: {error}")
    return tensorrt_bindings


def test_every_flag_of_ours_is_one_of_tensorrts(trt: ModuleType) -> None:
    ours = set(FLAGS) - {"NO_TF32"}
    theirs = {*trt.BuilderFlag.__members__, *trt.HardwareCompatibilityLevel.__members__}
    assert ours <= theirs
    assert "TF32" in trt.BuilderFlag.__members__
    assert "FP16" not in trt.BuilderFlag.__members__


@pytest.mark.parametrize(
    "name",
    [
        "DataType",
        "TensorIOMode",
        "MemoryPoolType",
        "BuilderFlag",
        "HardwareCompatibilityLevel",
        "ExecutionContextAllocationStrategy",
    ],
)
def test_the_fakes_members_have_the_real_numbers(trt: ModuleType, name: str) -> None:
    real = vars(trt)[name].__members__
    fake = vars(fake_tensorrt)[name].__members__
    assert {key: int(real[key]) for key in fake} == {key: member.value for key, member in fake.items()}


def test_the_fakes_severities_have_the_real_numbers(trt: ModuleType) -> None:
    fake = fake_tensorrt.ILogger.Severity
    assert {name: int(level) for name, level in trt.ILogger.Severity.__members__.items()} == {
        level.name: level.value for level in fake
    }


def test_the_log_is_a_logger_of_tensorrts_and_keeps_its_errors(trt: ModuleType) -> None:
    log = process_log(trt)
    assert isinstance(log, trt.ILogger)
    log.log(trt.ILogger.Severity.INFO, "not this")
    log.log(trt.ILogger.Severity.INTERNAL_ERROR, "but this")
    assert log.last_words() == "but this"


def test_the_progress_and_the_allocator_are_tensorrts_own_kind(trt: ModuleType) -> None:
    assert isinstance(new_progress(trt), trt.IProgressMonitor)
    output = new_output(trt, MemoryPool(NoMemory()))
    assert isinstance(output, trt.IOutputAllocator)
    address = output.reallocate_output_async("rows", 0, 96, 256, 0)
    output.notify_shape("rows", trt.Dims([1, 4, 6]))
    assert (address > 0, output.shape) == (True, (1, 4, 6))


def test_profiles_are_shapes_that_tensorrt_takes(trt: ModuleType) -> None:
    for profile in DEFAULTS:
        best = profile.best
        assert list(trt.Dims([best.batch, best.height_px, best.width_px, 3])) == [4, best.height_px, best.width_px, 3]


def test_pycudas_own_words_are_understood() -> None:
    driver = pytest.importorskip("pycuda.driver", reason="PyCUDA cannot be imported", exc_type=ImportError)
    if cuda_available():
        pytest.skip("there is a GPU here, and no refusal to read")
    with pytest.raises(driver.Error) as caught:
        driver.init()
    fault = fault_in_words(str(caught.value))
    assert fault is not None
    assert fault.name == "CUDA_ERROR_NO_DEVICE"


def test_graphs_are_called_by_names_that_the_driver_has() -> None:
    driver = LibCuda.load()
    if driver is None or cuda_available():
        pytest.skip("there is no driver that refuses here")
    with pytest.raises(CudaCallError, match="cuStreamBeginCapture failed: CUDA_ERROR_NO_DEVICE"):
        driver.begin_capture(0)
    with pytest.raises(CudaCallError, match="CUDA_ERROR_NO_DEVICE"):
        driver.instantiate(0)


def test_without_a_device_the_probe_ends_it_before_any_object_of_tensorrt(trt: ModuleType) -> None:
    driver = pytest.importorskip("pycuda.driver", reason="PyCUDA cannot be imported", exc_type=ImportError)
    if cuda_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UnavailableError, match="GPU"):
        Device(Bindings(trt=trt, cuda=driver, graphs=None, is_available=cuda_available))
