"""The device that is none: its time, its memory, its link and its faults."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import DeviceLostError, DeviceMemoryError, ModelError, SightlineError, UnavailableError
from app.core.gpu import LinkTraffic
from app.pipeline.fault_inbox import FaultInbox
from app.policy.fault_plan import (
    ContextLoss,
    CorruptPlan,
    EngineLoadFailure,
    Fault,
    GpuOom,
    LinkDegradation,
    SlowKernel,
    StickyError,
    row_of,
)
from app.vision.example import example_picture
from engines.cuda_status import CudaError, CudaStatus
from engines.device_memory import Block, DeviceMemory, size_class_bytes
from engines.fake_gpu import (
    MIB,
    Calibration,
    DeviceParameters,
    FakeEngineParameters,
    FakeGpu,
    FakeGpuEngine,
    calibrated,
)
from engines.pcie import PcieLink, PcieMeter
from engines.reference import ReferenceEngine

SIDE_PX = 64
CALIBRATION = Calibration(seconds_per_image=0.004, seconds_per_call=0.006)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Rig:
    """A device with 1 GiB, faults to plant, and engines on it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.inbox = FaultInbox(clock=self.clock)
        self.gpu = self.new_process()

    def new_process(self) -> FakeGpu:
        parameters = DeviceParameters(memory_bytes=1024 * MIB)
        return FakeGpu(parameters, inbox=self.inbox, clock=self.clock, sleep=self.clock.sleep)

    def engine(self, gpu: FakeGpu | None = None, *, is_plan: bool = True) -> FakeGpuEngine:
        answers = [ReferenceEngine(width_px=side, height_px=side) for side in (SIDE_PX, SIDE_PX // 2)]
        parameters = FakeEngineParameters(calibration=CALIBRATION, is_plan=is_plan)
        return FakeGpuEngine(gpu or self.gpu, answers, parameters=parameters)

    def plant(self, fault: Fault) -> str:
        return self.inbox.put(fault, expires_s=100).fault_id


@pytest.fixture
def rig() -> Rig:
    return Rig()


def pictures(count: int, *, side_px: int = SIDE_PX):
    return [np.roll(example_picture(width_px=side_px, height_px=side_px), 3 * i, axis=1) for i in range(count)]


def error_of(engine: FakeGpuEngine, count: int = 1) -> type[SightlineError] | None:
    try:
        engine.infer(pictures(count))
    except SightlineError as error:
        return type(error)
    return None


def test_the_rows_are_those_of_the_real_engine_picture_by_picture(rig: Rig) -> None:
    expected = ReferenceEngine(width_px=SIDE_PX, height_px=SIDE_PX).infer(pictures(5))
    assert (expected[0] != expected[1]).any()
    np.testing.assert_array_equal(rig.engine().infer(pictures(5)), expected)


def test_a_batch_takes_the_time_of_its_calibration_and_of_its_copies(rig: Rig) -> None:
    engine = rig.engine()
    rows = engine.infer(pictures(8))
    copies_s = (8 * SIDE_PX * SIDE_PX * 3 + rows.nbytes) / PcieLink().bytes_per_s
    assert rig.clock.now_s == pytest.approx(8 * 0.004 + 0.006 + copies_s, abs=1e-12)
    assert engine.streams == 1


def test_pictures_with_half_the_side_cost_a_quarter(rig: Rig) -> None:
    rig.engine().infer(pictures(8, side_px=SIDE_PX // 2))
    assert rig.clock.now_s == pytest.approx(2 * 0.004 + 0.006, abs=1e-4)


def test_many_threads_get_their_own_rows(rig: Rig) -> None:
    engine, eight = rig.engine(), pictures(8)
    expected = ReferenceEngine(width_px=SIDE_PX, height_px=SIDE_PX).infer(eight)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda turn: engine.infer([eight[turn % 8]]), range(80)))
    np.testing.assert_array_equal(np.concatenate(answers), np.concatenate([expected] * 10))
    assert rig.gpu.memory.used_bytes == size_class_bytes(256 * MIB)


def test_memory_and_link_can_be_looked_at_while_a_kernel_runs(rig: Rig) -> None:
    seen: list[tuple[float, float]] = []
    sleeps = rig.clock.sleep

    def looking(seconds: float) -> None:
        seen.append((gpu.memory_ratio, gpu.pcie_utilisation))
        sleeps(seconds)

    gpu = FakeGpu(inbox=rig.inbox, clock=rig.clock, sleep=looking)
    rig.engine(gpu).infer(pictures(2))
    assert len(seen) == 3
    assert max(memory for memory, _ in seen) > seen[0][0]


def test_an_empty_batch_takes_no_time_and_has_no_rows(rig: Rig) -> None:
    assert rig.engine().infer([]).shape[0] == 0
    assert rig.clock.now_s == 0


@pytest.mark.parametrize("sides_px", [[48], [SIDE_PX, SIDE_PX // 2]])
def test_canvases_of_another_size_or_of_two_are_refused(rig: Rig, sides_px: list[int]) -> None:
    mixed = [picture for side_px in sides_px for picture in pictures(1, side_px=side_px)]
    with pytest.raises(ModelError, match="canvases of one size"):
        rig.engine().infer(mixed)


def test_the_time_is_fitted_to_what_was_measured() -> None:
    fitted = calibrated([(size, 0.004 * size + 0.006) for size in (1, 2, 4, 8)])
    assert fitted.seconds_per_image == pytest.approx(0.004)
    assert fitted.seconds_per_call == pytest.approx(0.006)
    with pytest.raises(ValueError, match="two sizes"):
        calibrated([(4, 0.02), (4, 0.021)])
    with pytest.raises(ValueError, match="no time"):
        Calibration(seconds_per_image=-1, seconds_per_call=0)


def test_out_of_memory_strikes_what_is_too_large_and_leaves_the_rest(rig: Rig) -> None:
    engine = rig.engine()
    planted = rig.plant(GpuOom(share=0.8))
    assert [error_of(engine, count) for count in (8, 1)] == [DeviceMemoryError, None]
    assert not engine.is_broken
    assert rig.gpu.memory_ratio > 0.8
    rig.inbox.remove(planted)
    assert error_of(engine, 8) is None
    assert rig.gpu.memory_ratio < 0.9


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (StickyError(), CudaStatus.CUDA_ERROR_ILLEGAL_ADDRESS),
        (ContextLoss(), CudaStatus.CUDA_ERROR_CONTEXT_IS_DESTROYED),
    ],
)
def test_a_lost_context_fails_every_engine_of_the_process_for_ever_and_none_of_the_next(
    rig: Rig, fault: Fault, status: CudaStatus
) -> None:
    engine, other = rig.engine(), rig.engine(is_plan=False)
    planted = rig.plant(fault)
    assert error_of(engine) is DeviceLostError is row_of(fault).error
    rig.inbox.remove(planted)
    assert [error_of(one) for one in (engine, other, engine)] == [DeviceLostError] * 3
    assert (rig.gpu.status, engine.is_broken, other.is_broken) == (status, True, True)
    with pytest.raises(DeviceLostError):
        rig.engine()
    engine.close()
    assert error_of(rig.engine(rig.new_process())) is None


def test_a_slow_kernel_takes_its_factor_longer(rig: Rig) -> None:
    engine = rig.engine()
    engine.infer(pictures(4))
    sound_s = rig.clock.now_s
    rig.plant(SlowKernel(factor=5))
    engine.infer(pictures(4))
    assert (rig.clock.now_s - sound_s) / sound_s == pytest.approx(5, rel=0.01)


def test_a_degraded_link_makes_copies_slow_and_is_seen_in_generation_lanes_and_utilisation(rig: Rig) -> None:
    rig.gpu.copy(up_bytes=20_000_000)
    fast_s, fast = rig.clock.now_s, rig.gpu.pcie_utilisation
    rig.plant(LinkDegradation(generation=1, lanes=1))
    assert (rig.gpu.link.generation, rig.gpu.link.lanes) == (1, 1)
    rig.gpu.copy(up_bytes=20_000_000)
    assert (rig.clock.now_s - fast_s) / fast_s == pytest.approx(16 * 1.969 / 0.25)
    assert rig.gpu.pcie_utilisation > 10 * fast
    assert rig.gpu.pcie.up_bytes == 40_000_000


def test_a_corrupt_plan_stops_tensorrt_and_not_the_other_runtime(rig: Rig) -> None:
    rig.plant(CorruptPlan())
    with pytest.raises(ModelError, match="plan"):
        rig.engine()
    assert error_of(rig.engine(is_plan=False)) is None


def test_a_load_failure_stops_every_runtime(rig: Rig) -> None:
    sound = rig.engine()
    rig.plant(EngineLoadFailure())
    for is_plan in (True, False):
        with pytest.raises(UnavailableError, match="not available"):
            rig.engine(is_plan=is_plan)
    assert error_of(sound) is None


def test_every_engine_takes_its_weights_and_gives_them_back_once(rig: Rig) -> None:
    engines = [rig.engine() for _ in range(4)]
    with pytest.raises(DeviceMemoryError):
        rig.engine()
    for engine in engines:
        engine.close()
        engine.close()
    assert rig.gpu.memory.used_bytes == 0
    rig.engine()


@given(st.integers(0, 2**40))
def test_a_size_class_holds_what_was_asked_for_and_wastes_at_most_a_fifth(size_bytes: int) -> None:
    whole = size_class_bytes(size_bytes)
    assert whole >= size_bytes
    assert whole <= max(512, 1.25 * size_bytes)
    assert size_class_bytes(whole) == whole


def test_the_last_freed_of_a_class_is_lent_first() -> None:
    memory = DeviceMemory(10_000)
    first, second = memory.allocate(1000), memory.allocate(1000)
    memory.free(first)
    memory.free(second)
    assert [memory.allocate(1000), memory.allocate(900 + 100)] == [second, first]


def test_held_memory_is_given_up_before_a_refusal() -> None:
    memory = DeviceMemory(4096)
    memory.free(memory.allocate(4096))
    assert memory.allocate(1024).size_bytes == 1024
    with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
        memory.allocate(4096)


def test_memory_that_is_not_lent_cannot_be_given_back() -> None:
    memory = DeviceMemory(4096)
    block = memory.allocate(512)
    memory.free(block)
    with pytest.raises(CudaError, match="INVALID_VALUE"):
        memory.free(block)


class Borrower:
    """Blocks that come and go in any order."""

    def __init__(self) -> None:
        self.memory = DeviceMemory(64 * 1024)
        self.lent: list[Block] = []

    def play(self, size_bytes: int, *, gives_back: bool, hoarded: float) -> None:
        self.memory.hoarded = hoarded
        if gives_back and self.lent:
            self.memory.free(self.lent.pop(size_bytes % len(self.lent)))
            return
        try:
            self.lent.append(self.memory.allocate(size_bytes))
        except CudaError:
            self.memory.trim()


@given(st.lists(st.tuples(st.integers(0, 40_000), st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), max_size=60))
def test_no_history_lends_the_same_memory_twice_or_more_than_there_is(
    steps: list[tuple[int, bool, float]],
) -> None:
    borrower = Borrower()
    for size_bytes, gives_back, hoarded in steps:
        borrower.play(size_bytes, gives_back=gives_back, hoarded=hoarded)
        memory = borrower.memory
        assert memory.used_bytes == sum(block.size_bytes for block in borrower.lent)
        assert 0 <= memory.used_bytes + memory.held_bytes <= memory.total_bytes
        assert len({block.address for block in borrower.lent}) == len(borrower.lent)
        assert 0 <= memory.used_ratio <= 1


def test_the_meter_forgets_after_a_second_and_counts_for_ever() -> None:
    meter, link = PcieMeter(), PcieLink(generation=3, lanes=4)
    meter.copied(now_s=0.0, up_bytes=int(link.bytes_per_s / 2))
    meter.copied(now_s=0.5, down_bytes=int(link.bytes_per_s / 4))
    assert meter.utilisation(link, now_s=0.9) == pytest.approx(0.5)
    assert meter.utilisation(link, now_s=1.0) == pytest.approx(0.25)
    assert meter.utilisation(link, now_s=2.0) == 0
    assert (meter.up_bytes > 0, meter.down_bytes > 0) == (True, True)


def test_the_device_is_read_as_a_real_one_is() -> None:
    rig = Rig()
    engine = rig.engine()
    loaded = rig.gpu.read()
    rig.gpu.copy(up_bytes=1000)
    rig.gpu.run(0.25, activations_bytes=10 * MIB)
    ran = rig.gpu.read()
    engine.close()
    assert (loaded.vram_total_bytes, loaded.vram_used_bytes, loaded.vram_dynamic_bytes) == (1024 * MIB, 256 * MIB, 0)
    assert loaded.utilisation == 0.0
    assert ran.utilisation == pytest.approx(0.25)
    assert ran.pcie == LinkTraffic(up_bytes_per_s=1000.0, down_bytes_per_s=0.0)
    assert ran.pcie_bytes_per_s == PcieLink().theoretical_bytes_per_s


def test_memory_of_a_batch_is_dynamic_while_the_batch_runs() -> None:
    rig = Rig()
    seen: list[int] = []
    gpu = FakeGpu(inbox=rig.inbox, clock=rig.clock, sleep=lambda _: seen.append(gpu.read().vram_dynamic_bytes))
    gpu.load(64 * MIB, is_plan=True)
    gpu.run(0.1, activations_bytes=16 * MIB)
    assert seen == [16 * MIB]
