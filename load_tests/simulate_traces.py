"""What a fleet of cameras offers, second by second: six traces, each scaled to a number of GPUs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from load_tests.simulate_plant import PlantParameters

Curve = Callable[[np.ndarray, np.random.Generator], np.ndarray]
HOUR_S = 3600
PEAK = 0.75
"""What the highest point of a curve offers, as a share of what the GPUs that a trace is scaled to can answer."""
_JITTER, _KEPT = 0.02, 0.9
"""Spread of the slow noise, and how much of it is left a second later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A curve of demand over `seconds`, in shares of its peak, and the plant that has to answer it."""

    name: str
    seconds: int
    curve: Curve
    plant: PlantParameters = field(default_factory=PlantParameters)

    def offered_hz(self, gpus: int, *, seed: int) -> list[float]:
        """Frames offered in each second: the curve with slow noise on it, then counted as a Poisson process."""
        chance = np.random.default_rng(seed)
        share = np.clip(self.curve(np.arange(self.seconds, dtype=float), chance), 0.0, None)
        mean_hz = share * PEAK * gpus * self.plant.capacity_hz * _slow_noise(self.seconds, chance)
        return [float(count) for count in chance.poisson(np.clip(mean_hz, 0.0, None))]


def _slow_noise(seconds: int, chance: np.random.Generator) -> np.ndarray:
    """Around 1: an autoregressive series, since neighbouring seconds of real demand resemble each other."""
    pushes = chance.normal(0.0, _JITTER * (1 - _KEPT**2) ** 0.5, seconds)
    level, series = 0.0, np.empty(seconds)
    for index, push in enumerate(pushes.tolist()):
        level = _KEPT * level + push
        series[index] = 1.0 + level
    return series


def diurnal(times_s: np.ndarray, _chance: np.random.Generator) -> np.ndarray:
    """One day: a quarter of the peak at night, a hump in the morning and a higher one in the evening."""
    hours = times_s / HOUR_S % 24
    morning = 0.5 * np.exp(-(((hours - 9.0) / 2.5) ** 2))
    evening = 0.75 * np.exp(-(((hours - 18.5) / 3.0) ** 2))
    return 0.25 + morning + evening


def flash_crowd(times_s: np.ndarray, _chance: np.random.Generator) -> np.ndarray:
    """Four times the load within ten seconds, held for 25 minutes, gone over ten; once an hour."""
    moment_s = times_s % HOUR_S
    rise = np.clip((moment_s - 900) / 10, 0, 1)
    fall = np.clip((moment_s - 2400) / 600, 0, 1)
    return 0.25 + 0.75 * (rise - fall)


def sawtooth(times_s: np.ndarray, _chance: np.random.Generator) -> np.ndarray:
    """Up over fifteen minutes and down at once, again and again."""
    return 0.3 + 0.7 * (times_s % 900) / 900


def camera_herds(times_s: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Twenty sites whose cameras all come and go together, each at random moments about twenty minutes apart."""
    total = np.zeros_like(times_s)
    for _ in range(20):
        moment_s, is_on = 0.0, bool(chance.random() < 0.5)
        while moment_s < len(times_s):
            length_s = max(chance.exponential(1200), 1.0)
            if is_on:
                total[int(moment_s) : int(moment_s + length_s)] += 1
            moment_s, is_on = moment_s + length_s, not is_on
    return 0.15 + 0.85 * total / 20


def hills(times_s: np.ndarray, _chance: np.random.Generator) -> np.ndarray:
    """A hill an hour, between a third of the peak and the peak."""
    return 0.675 - 0.325 * np.cos(2 * np.pi * times_s / HOUR_S)


def steady(times_s: np.ndarray, _chance: np.random.Generator) -> np.ndarray:
    """Always the peak."""
    return np.ones_like(times_s)


TRACES: Mapping[str, Trace] = {
    trace.name: trace
    for trace in (
        Trace(name="diurnal", seconds=24 * HOUR_S, curve=diurnal),
        Trace(name="flash crowd", seconds=4 * HOUR_S, curve=flash_crowd),
        Trace(name="sawtooth", seconds=4 * HOUR_S, curve=sawtooth),
        Trace(name="camera herds", seconds=6 * HOUR_S, curve=camera_herds),
        Trace(name="slow nodes", seconds=6 * HOUR_S, curve=hills, plant=PlantParameters(node_start_s=600.0)),
        Trace(name="failing nodes", seconds=6 * HOUR_S, curve=steady, plant=PlantParameters(node_life_s=4 * HOUR_S)),
    )
}
