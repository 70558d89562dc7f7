"""The GPU's memory is promised before a model is loaded, to as many as there is room for."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import DeviceMemoryError
from app.policy.vram_ledger import GIB, MIB, VramNeed
from engines.vram import VramAccount, estimated_need
from tests.builders import make_spec


def need(mib: int) -> VramNeed:
    return VramNeed(model="street", weights_bytes=mib * MIB)


def test_what_was_promised_is_free_again_once_it_is_taken_back_and_twice_is_once() -> None:
    account = VramAccount(1000 * MIB)
    release = account.promise(need(600))
    with pytest.raises(DeviceMemoryError, match="needs 600 MiB of GPU memory and 400 MiB are left"):
        account.promise(need(600))
    release()
    release()
    assert account.free_bytes == 1000 * MIB
    account.promise(need(600))


def test_of_many_who_ask_at_once_no_more_get_it_than_there_is_room_for() -> None:
    account = VramAccount(1000 * MIB)

    def ask(_: int) -> bool:
        try:
            account.promise(need(300))
        except DeviceMemoryError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(40))) == 3


def test_the_estimate_of_eight_large_canvases_is_that_of_the_source() -> None:
    found = estimated_need(make_spec(size_px=1280), file_bytes=6 * MIB, max_batch=8)
    assert found.bytes == pytest.approx(1.8e9, rel=0.05)
    assert found.bytes < 2 * GIB


def test_a_larger_file_canvas_or_batch_needs_more() -> None:
    small = estimated_need(make_spec(size_px=320), file_bytes=1, max_batch=1)
    more = [
        estimated_need(make_spec(size_px=320), file_bytes=2, max_batch=1),
        estimated_need(make_spec(size_px=352), file_bytes=1, max_batch=1),
        estimated_need(make_spec(size_px=320), file_bytes=1, max_batch=2),
    ]
    assert min(one.bytes for one in more) > small.bytes
