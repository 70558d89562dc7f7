"""Looks at its process a few times a second: memory, pauses, the GPU, and what stages tell when they are asked."""

import logging
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from app.core import metrics as table
from app.core.gpu import GpuMeter, GpuReading
from app.core.load_signals import LoadSignals
from app.pipeline.gc_pauses import GcPauses
from app.pipeline.gpu_metrics import record
from app.pipeline.tally import Snapshot, Tally

T = TypeVar("T")
LOG = logging.getLogger("sightline")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryParameters:
    """A look every `sample_s`, published every `publish_s`; load is the mean of the last `load_s` seconds.

    ValueError for times that are not above 0.
    """

    sample_s: float = 0.2  # Source: MISSION row 56
    publish_s: float = 1.0
    load_s: float = 2.0

    def __post_init__(self) -> None:
        if not min(self.sample_s, self.publish_s, self.load_s) > 0:
            raise ValueError("a period must be above 0 s")


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    answered: float
    gpu: GpuReading | None


class Sampler:
    """A thread of one process that looks, and publishes. Nothing here is on the way of a frame.

    `meter` reads the GPU, if there is one. `publish` gets all that was counted since it was last called well. `watch`
    adds a look of a stage's own, whose failure stops no other.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        publish: Callable[[Snapshot], None],
        meter: GpuMeter | None = None,
        parameters: TelemetryParameters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally = tally
        self._publish = publish
        self._meter = meter
        self._parameters = parameters or TelemetryParameters()
        self._clock = clock
        self._pauses = GcPauses()
        self._watched: list[Callable[[], None]] = []
        self._computed_s = 0.0
        self._published_s = float("-inf")
        self._looks: deque[_Look] = deque()
        self._lock = threading.Lock()  # of the looks
        self._is_stopped = threading.Event()
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sampler")

    def watch(self, look: Callable[[], None]) -> None:
        """Call this at every look, on the sampler's thread."""
        self._watched.append(look)

    def start(self) -> None:
        """Look from now on; twice is once."""
        self._pauses.begin()
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Look no longer; what was counted is published once more."""
        self._is_stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._pauses.end()
        self._try("publish", lambda: self._publish(self._tally.snapshot()))

    def load(self) -> LoadSignals:
        """What scaling decides by; never waits for a device."""
        with self._lock:
            looks = list(self._looks)
        if not looks:
            return LoadSignals(qps=0.0)
        spent_s = looks[-1].at_s - looks[0].at_s
        readings = [look.gpu for look in looks if look.gpu is not None]
        return LoadSignals(
            qps=(looks[-1].answered - looks[0].answered) / spent_s if spent_s > 0 else 0.0,
            vram_used=_mean([reading.vram_used for reading in readings]),
            vram_dynamic=_mean([reading.vram_dynamic for reading in readings]),
            pcie=_mean([reading.pcie_utilisation for reading in readings]),
        )

    def look(self) -> None:
        """Look once, and publish when it is time."""
        now_s = self._clock()
        self._try("process", self._look_at_process)
        reading = self._try("gpu", self._look_at_gpu)
        for number, watched in enumerate(self._watched):
            self._try(f"stage {number}", watched)
        look = _Look(now_s, self._tally.total(table.DETECTOR_FRAMES), reading)
        with self._lock:
            self._looks.append(look)
            while now_s - self._looks[0].at_s > self._parameters.load_s:
                self._looks.popleft()
        if now_s - self._published_s >= self._parameters.publish_s:
            self._published_s = now_s
            self._try("publish", lambda: self._publish(self._tally.snapshot()))

    def _run(self) -> None:
        while not self._is_stopped.wait(self._parameters.sample_s):
            self.look()

    def _try(self, what: str, look: Callable[[], T]) -> T | None:
        """What it gives; None when it fails, which is said once until it works again."""
        try:
            seen = look()
        except Exception:
            if what not in self._failing:
                LOG.exception("telemetry cannot see to %s", what)
            self._failing.add(what)
            return None
        self._failing.discard(what)
        return seen

    def _look_at_process(self) -> None:
        tally = self._tally
        tally.set(table.PROCESS_RSS, to=int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        computed_s = usage.ru_utime + usage.ru_stime
        tally.count(table.PROCESS_CPU, by=computed_s - self._computed_s)
        self._computed_s = computed_s
        for generation, pause_s in self._pauses.take():
            tally.observe(table.PROCESS_GC_PAUSE, (str(generation),), value=pause_s)

    def _look_at_gpu(self) -> GpuReading | None:
        reading = None if self._meter is None else self._meter.read()
        if reading is not None:
            record(reading, self._tally)
        return reading


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
