import ctypes
import os

import pytest


def has_gpu() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu() and os.environ.get("FAIL_WITHOUT_GPU") != "1", reason="this machine has no GPU")
def test_the_gpu_is_there() -> None:
    assert has_gpu()
