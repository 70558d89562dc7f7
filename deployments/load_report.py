"""What a replica tells the controller of its load, in the form that Serve takes: names and floats."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.core.load_signals import LoadSignals
from app.policy.autoscaling_parameters import AutoscalingParameters, turned

QPS, VRAM_USED, VRAM_DYNAMIC, PCIE, BUSY_CORES = "qps", "vram_used", "vram_dynamic", "pcie", "busy_cores"
KNOB: Final = "knob."
DRY_RUN: Final = "dry_run"
WINDOW_S: Final = 2.0


class Busy:
    """How many cores this process keeps busy, between one look and the next."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock
        self._spent = spent
        self._looked_s, self._spent_s = clock(), spent()
        self._cores = 0.0

    def cores(self) -> float:
        """Mean since the look before this one; the same again where no time has passed."""
        now_s, spent_s = self._clock(), self._spent()
        if now_s > self._looked_s:
            self._cores = (spent_s - self._spent_s) / (now_s - self._looked_s)
            self._looked_s, self._spent_s = now_s, spent_s
        return self._cores


class Arrivals:
    """Frames per second that came in the last seconds, whether or not they could be answered: what is asked for.

    What is answered would not do: it stops growing when a replica is at its end, which is when others are needed.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, window_s: float = WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._began_s = clock()
        self._came: deque[tuple[float, int]] = deque()

    def note(self, frames: int) -> None:
        """So many more."""
        self._came.append((self._clock(), frames))
        self._forget()

    def per_s(self) -> float:
        """The rate, over as much of the window as there was."""
        self._forget()
        spent_s = min(self._window_s, self._clock() - self._began_s)
        return sum(frames for _, frames in self._came) / spent_s if spent_s > 0 else 0.0

    def _forget(self) -> None:
        while self._came and self._came[0][0] <= self._clock() - self._window_s:
            self._came.popleft()


class StageReport:
    """The load of any other stage: how many cores it keeps busy."""

    def __init__(self) -> None:
        self._busy = Busy()

    def stats(self) -> dict[str, float]:
        """All of it, in Python floats."""
        return {BUSY_CORES: float(self._busy.cores())}


class LoadReport:
    """The load of one Detector, and the knobs that its `user_config` turns. `device` tells what the GPU says of it."""

    def __init__(self, device: Callable[[], LoadSignals] | None = None) -> None:
        self.arrivals = Arrivals()
        self._device = device or _no_device
        self._busy = Busy()
        self._knobs: dict[str, float] = {}

    def turn(self, user_config: Mapping[str, Any] | None) -> None:
        """Take the knobs of `user_config`'s `autoscaling`; ValueError for one that there is not, and none is turned.

        They travel to the controller with the load: Serve lets no other change of a policy do without new replicas.
        """
        given = dict((user_config or {}).get("autoscaling") or {})
        dry_run = given.pop(DRY_RUN, None)
        if dry_run is not None and not isinstance(dry_run, bool):
            raise ValueError(f"{DRY_RUN} must be true or false")
        known = {DRY_RUN: float(dry_run)} if dry_run is not None else {}
        turned(AutoscalingParameters(), given)
        self._knobs = {KNOB + name: float(value) for name, value in {**given, **known}.items()}

    def stats(self) -> dict[str, float]:
        """All of it. Python floats only: for anything else Serve would never ask this replica again."""
        device = self._device()
        return {
            QPS: float(self.arrivals.per_s()),
            VRAM_USED: float(device.vram_used),
            VRAM_DYNAMIC: float(device.vram_dynamic),
            PCIE: float(device.pcie),
            BUSY_CORES: float(self._busy.cores()),
            **self._knobs,
        }


def _no_device() -> LoadSignals:
    return LoadSignals(qps=0.0)
