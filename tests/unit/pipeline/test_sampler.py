"""The look at a process: memory, pauses, the GPU, the load that scaling decides by; one that fails stops no other."""

import gc

import pytest

from app.core.gpu import GpuReading, LinkTraffic
from app.core.metrics import (
    DETECTOR_FRAMES,
    GPU_PCIE_UTILISATION,
    GPU_VRAM_USED,
    INGRESS_WAITING,
    PROCESS_GC_PAUSE,
    PROCESS_RSS,
    SERVICE_FRAMES,
)
from app.pipeline.gc_pauses import GcPauses
from app.pipeline.sampler import Sampler, TelemetryParameters
from app.pipeline.tally import Snapshot, Tally
from tests.fakes import ManualClock

READING = GpuReading(
    device="0",
    vram_used_bytes=60,
    vram_total_bytes=100,
    vram_dynamic_bytes=25,
    pcie=LinkTraffic(up_bytes_per_s=50.0, down_bytes_per_s=10.0),
    pcie_bytes_per_s=200.0,
)


class Meter:
    """A GPU that says what it is told to, and fails when that is nothing."""

    def __init__(self) -> None:
        self.says: GpuReading | None = READING

    def read(self) -> GpuReading | None:
        if self.says is None:
            raise RuntimeError("the driver is gone")
        return self.says


class Rig:
    """A sampler on a clock moved by hand, and what it has published."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tally = Tally()
        self.meter = Meter()
        self.published: list[Snapshot] = []
        self.sampler = Sampler(
            self.tally,
            publish=self.published.append,
            meter=self.meter,
            parameters=TelemetryParameters(),
            clock=self.clock,
        )

    def look(self, *, after_s: float = 0.25) -> None:
        self.clock.now_s += after_s
        self.sampler.look()


def test_memory_and_gpu_are_put_down() -> None:
    rig = Rig()
    rig.look()
    gauges = rig.tally.snapshot().gauges
    assert gauges[PROCESS_RSS, ()] > 10 * 1024**2
    assert gauges[GPU_VRAM_USED, ("0",)] == 60
    assert gauges[GPU_PCIE_UTILISATION, ("0",)] == 0.25


def test_the_load_is_the_mean_of_the_last_seconds() -> None:
    rig = Rig()
    for _ in range(50):
        rig.tally.count(DETECTOR_FRAMES, ("street", "1.0.0"), by=4)
        rig.look()
    load = rig.sampler.load()
    assert load.qps == 16.0
    assert (load.vram_used, load.vram_dynamic, load.pcie) == pytest.approx((0.6, 0.25, 0.25))


def test_before_the_first_look_there_is_no_load() -> None:
    assert Rig().sampler.load().qps == 0.0


def test_a_gpu_that_is_gone_hides_nothing_else() -> None:
    rig = Rig()
    rig.meter.says = None
    rig.sampler.watch(lambda: rig.tally.set(INGRESS_WAITING, to=7))
    rig.look()
    assert rig.tally.snapshot().gauges[INGRESS_WAITING, ()] == 7
    assert rig.sampler.load().vram_used == 0.0


def test_it_publishes_once_a_second_and_at_the_end() -> None:
    rig = Rig()
    for _ in range(9):
        rig.look()
    assert len(rig.published) == 3
    rig.tally.count(SERVICE_FRAMES, ("still", "result", ""))
    rig.sampler.stop()
    assert rig.published[-1].counters[SERVICE_FRAMES, ("still", "result", "")] == 1


def test_every_collection_is_a_pause() -> None:
    pauses = GcPauses()
    pauses.begin()
    pauses.begin()
    try:
        gc.collect()
        generations = [generation for generation, _ in pauses.take()]
    finally:
        pauses.end()
    gc.collect()
    assert generations.count(2) == 1
    assert pauses.take() == []


def test_a_collection_within_the_tally_does_not_wait_for_it() -> None:
    """The collector calls back within any line: also one of the tally's, which holds the tally's lock."""
    rig = Rig()
    rig.sampler.start()
    try:
        with rig.tally._lock:
            gc.collect()
    finally:
        rig.sampler.stop()
    rig.look()
    assert any(series[0] is PROCESS_GC_PAUSE for series in rig.tally.snapshot().histograms)
