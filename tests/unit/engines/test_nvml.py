"""NVML as a fake library object, held to the real module's signatures; wraps, missing counters, a GPU that goes."""
# ruff: noqa: ARG002, N802, N803 - the names and parameters are NVML's

import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.nvml import NvmlMeter, open_meter
from engines.pcie import counted, link_of
from engines.vram_floor import VramFloor
from tests.fakes import ManualClock

GIB = 1024**3
_EXPORT = Path(__file__).parents[3] / ".venv-export"
_FOUND = importlib.util.find_spec("pynvml")
_REAL = (
    [Path(_FOUND.origin)] if _FOUND and _FOUND.origin else sorted(_EXPORT.glob("lib/python*/site-packages/pynvml.py"))
)


class NvmlError(Exception):
    """What every refused call raises."""


class FakeNvml:
    """A library with one GPU at link generation 4 x16; `refused` names calls that it does not support."""

    NVMLError = NvmlError

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.fields = {197: 1000, 198: 2000, 138: 0, 139: 0}
        self.used_bytes = 6 * GIB
        self.opened: list[int | str] = []
        self.asked_slowly = 0

    def _check(self, call: str) -> None:
        if call in self.refused:
            raise NvmlError(call)

    def nvmlInit(self) -> None:
        self._check("nvmlInit")

    def nvmlShutdown(self) -> None:
        self._check("nvmlShutdown")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        self.opened.append(index)
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        self.opened.append(uuid)
        return "handle"

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any:
        self._check("memory")
        return SimpleNamespace(total=16 * GIB, used=self.used_bytes, free=16 * GIB - self.used_bytes)

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        return SimpleNamespace(gpu=40, memory=10)

    def nvmlDeviceGetDecoderUtilization(self, handle: Any) -> list[int]:
        self._check("decoder")
        return [25, 20_000]

    def nvmlDeviceGetFieldValues(self, handle: Any, fieldIds: Sequence[Any]) -> Sequence[Any]:
        numbers = [one[0] if isinstance(one, tuple) else one for one in fieldIds]
        return [
            SimpleNamespace(
                nvmlReturn=3 if f"field {number}" in self.refused else 0,
                valueType=3,
                value=SimpleNamespace(ullVal=self.fields[number], uiVal=0),
            )
            for number in numbers
        ]

    def nvmlDeviceGetPcieThroughput(self, device: Any, counter: int) -> int:
        self.asked_slowly += 1
        return 500 + counter

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: Any) -> int:
        return 4

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: Any) -> int:
        return 16


def signatures(source: str) -> dict[str, tuple[list[str], int]]:
    """The parameters of each `nvml…` function or method, without `self`, and how many of them must be given."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("nvml")
    ]
    found = {}
    for node in functions:
        names = [argument.arg for argument in node.args.args if argument.arg != "self"]
        found[node.name] = names, len(names) - len(node.args.defaults)
    return found


def drifts(ours: str, theirs: str) -> dict[str, Any]:
    """What of ours is not so in the real module."""
    real = signatures(theirs)
    return {name: real.get(name) for name, signature in signatures(ours).items() if real.get(name) != signature}


@pytest.mark.skipif(not _REAL, reason="nvidia-ml-py is not installed")
@pytest.mark.parametrize("file", [Path(__file__), Path(__file__).parents[3] / "engines" / "nvml.py"])
def test_the_fake_and_the_port_have_the_real_signatures(file: Path) -> None:
    assert drifts(file.read_text("utf-8"), _REAL[0].read_text("utf-8")) == {}


def test_a_signature_that_drifts_is_found_out() -> None:
    real = "def nvmlDeviceGetPcieThroughput(device, counter): ..."
    assert drifts("def nvmlDeviceGetPcieThroughput(handle, counter): ...", real)
    assert drifts("def nvmlDeviceGetPcie(device): ...", real)


def meter_on(library: FakeNvml, clock: ManualClock) -> NvmlMeter:
    return NvmlMeter("0", library=library, clock=clock)


def test_a_reading_has_memory_utilisation_and_rates() -> None:
    library, clock = FakeNvml(), ManualClock()
    meter = meter_on(library, clock)
    first = meter.read()
    clock.now_s, library.fields, library.used_bytes = 0.5, {197: 2000, 198: 1_002_000, 138: 10, 139: 20}, 7 * GIB
    reading = meter.read()
    assert first is not None
    assert first.pcie is None  # a rate needs two
    assert reading is not None
    assert (reading.vram_used_bytes, reading.vram_total_bytes, reading.vram_dynamic_bytes) == (7 * GIB, 16 * GIB, GIB)
    assert (reading.utilisation, reading.decoder_utilisation) == (0.4, 0.25)
    assert reading.pcie is not None
    assert (reading.pcie.up_bytes_per_s, reading.pcie.down_bytes_per_s) == (2_000_000.0, 2_000.0)
    assert reading.pcie_bytes_per_s == 1.969e9 * 16
    assert reading.nvlink is not None
    assert (reading.nvlink.up_bytes_per_s, reading.nvlink.down_bytes_per_s) == (20 * 1024 * 2, 10 * 1024 * 2)


def test_without_counters_the_driver_measures_in_kilobytes() -> None:
    library = FakeNvml()
    library.refused = {"field 197", "field 138", "decoder"}
    reading = meter_on(library, ManualClock()).read()
    assert reading is not None
    assert reading.pcie is not None
    assert (reading.pcie.up_bytes_per_s, reading.pcie.down_bytes_per_s) == (501_000.0, 500_000.0)
    assert (reading.nvlink, reading.decoder_utilisation) == (None, None)


def test_with_counters_the_driver_is_never_made_to_measure() -> None:
    library = FakeNvml()
    meter_on(library, ManualClock()).read()
    assert library.asked_slowly == 0


def test_a_gpu_that_is_gone_gives_no_reading() -> None:
    library = FakeNvml()
    meter = meter_on(library, ManualClock())
    library.refused = {"memory"}
    assert meter.read() is None


@pytest.mark.parametrize(("visible", "opened"), [("2,3", 2), ("GPU-8d3f", "GPU-8d3f"), ("MIG-77", "MIG-77")])
def test_the_first_visible_gpu_is_read(visible: str, opened: int | str) -> None:
    library = FakeNvml()
    assert open_meter(visible, library=library) is not None
    assert library.opened == [opened]


@pytest.mark.parametrize("visible", ["", "-1"])
def test_where_none_is_visible_there_is_no_meter(visible: str) -> None:
    assert open_meter(visible, library=FakeNvml()) is None


def test_without_a_driver_there_is_no_meter() -> None:
    library = FakeNvml()
    library.refused = {"nvmlInit"}
    assert open_meter("0", library=library) is None


@given(st.sampled_from([32, 64]), st.integers(0, 2**31), st.integers(0, 10**9))
def test_a_counter_that_wraps_loses_nothing(bits: int, before_end: int, grown: int) -> None:
    before = (1 << bits) - 1 - before_end
    now = (before + grown) % (1 << bits)
    assert counted(before, now, most=10**9) == grown


def test_a_counter_that_begins_anew_says_nothing() -> None:
    assert counted(5 * 10**12, 1000, most=10**10) is None
    assert counted(1000, 5 * 10**12, most=10**10) is None


def test_a_link_that_is_newer_than_the_table_is_not_known() -> None:
    assert link_of(generation=9, lanes=16) is None


def test_what_stays_for_a_minute_is_the_models() -> None:
    floor = VramFloor(window_s=60)
    assert [floor.lowest(used, now_s=at_s) for at_s, used in [(0, 5), (10, 8), (30, 6), (61, 8), (95, 8)]] == [
        5,
        5,
        5,
        6,
        8,
    ]
