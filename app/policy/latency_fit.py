"""How long an engine takes for a batch of n images, learned while it works: d(n) = a n + b."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

WINDOW: Final = 48
"""Batches that are remembered. A machine that changes its speed is followed within half as many."""
MIN_OFF_SIZE: Final = 3
"""Batches of another than the commonest size, below which the slope is not read anew: one stray would make it."""
EAGER: Final = 16
REFIT_EVERY: Final = 4
"""Every batch counts at once up to `EAGER`, then every fourth: a fit takes 0.1 ms, and a small batch 2 ms."""
SAFE_SHARE: Final = 0.9
MAX_TAIL: Final = 4.0
"""`safe_seconds` covers this share of the remembered batches, and never says more than `MAX_TAIL` times the usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """`each_s` seconds for every image and `base_s` for the batch, both 0 or more."""

    each_s: float
    base_s: float

    def seconds(self, images: int) -> float:
        """What a batch of so many images takes."""
        return self.each_s * images + self.base_s


PRIOR: Final = Latency(each_s=0.005, base_s=0.005)
"""Before the first batch. It decides nothing but the first cuts, and how b relates to a while all have one size."""

_SHORTEST_S = 1e-9
"""What is shorter is no line to stretch."""


class LatencyFit:
    """The median line through the last `WINDOW` batches, a >= 0 and b >= 0. Not thread-safe.

    Up to 29 % of the batches may be arbitrarily wrong (a page fault, a stolen core). While only one batch size is seen
    the line goes through its median, and a and b keep the ratio that was known before.

    Source: Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968); intercept by the
    median of the residuals.
    """

    def __init__(self, prior: Latency = PRIOR) -> None:
        self._line = prior
        self._tail = 1.0
        self._images = np.zeros(WINDOW)
        self._elapsed_s = np.zeros(WINDOW)
        self._pairs = np.triu_indices(WINDOW, 1)
        self._count = 0

    @property
    def line(self) -> Latency:
        """What is known now."""
        return self._line

    @property
    def tail(self) -> float:
        """How many times its usual seconds a slow batch takes, 1 to `MAX_TAIL`."""
        return self._tail

    def seconds(self, images: int) -> float:
        """What a batch of so many images usually takes."""
        return self._line.seconds(images)

    def safe_seconds(self, images: int) -> float:
        """What it takes at most, in nine of ten cases."""
        return self._tail * self._line.seconds(images)

    def most_images(self, within_s: float) -> int:
        """The largest batch that is safely done within so many seconds, 0 when none is; at most a million."""
        room_s = within_s / self._tail - self._line.base_s
        if room_s < self._line.each_s or room_s < 0:
            return 0
        return int(min(1e6, room_s / max(self._line.each_s, 1e-9) + 1e-9))

    def observe(self, images: int, elapsed_s: float) -> None:
        """A batch of so many images took so long; what is not a positive number of images and finite is left out."""
        if images < 1 or not math.isfinite(elapsed_s) or elapsed_s < 0:
            return
        place = self._count % WINDOW
        self._images[place], self._elapsed_s[place] = images, elapsed_s
        self._count += 1
        if self._count <= EAGER or self._count % REFIT_EVERY == 0:
            self._refit()

    def _refit(self) -> None:
        known = min(self._count, WINDOW)
        images, elapsed_s = self._images[:known], self._elapsed_s[:known]
        rows, columns = self._pairs if known == WINDOW else np.triu_indices(known, 1)
        apart = images[rows] - images[columns]
        differs = apart != 0
        commonest = _median(images)
        if int((images != commonest).sum()) >= MIN_OFF_SIZE:
            rise_s = (elapsed_s[rows] - elapsed_s[columns])[differs]
            self._line = _bounded(_median(rise_s / apart[differs]), images, elapsed_s)
        else:
            self._line = self._scaled(images, elapsed_s)
        usual_s = self._line.each_s * images + self._line.base_s
        ratios = elapsed_s / np.maximum(usual_s, 1e-9)
        place = math.ceil(SAFE_SHARE * known) - 1
        self._tail = min(MAX_TAIL, max(1.0, float(np.partition(ratios, place)[place])))

    def _scaled(self, images: np.ndarray, elapsed_s: np.ndarray) -> Latency:
        """The line known so far, stretched to pass through what was seen."""
        usual_s = self._line.each_s * images + self._line.base_s
        if float(usual_s.min()) < _SHORTEST_S:
            return _bounded(0.0, images, elapsed_s)
        stretch = _median(elapsed_s / usual_s)
        return Latency(each_s=stretch * self._line.each_s, base_s=stretch * self._line.base_s)


def _bounded(slope_s: float, images: np.ndarray, elapsed_s: np.ndarray) -> Latency:
    """The line of that slope, or the nearest that never says less than 0 for any batch."""
    each_s = max(0.0, slope_s)
    base_s = _median(elapsed_s - each_s * images)
    if base_s < 0:
        return Latency(each_s=_median(elapsed_s / images), base_s=0.0)
    return Latency(each_s=each_s, base_s=base_s)


def _median(values: np.ndarray) -> float:
    """The lower median; `np.median` costs three times as much."""
    place = (len(values) - 1) // 2
    return float(np.partition(values, place)[place])
